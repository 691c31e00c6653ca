"""The dashboard's figures of the suites: batches, time, memory, load, energy; marks, and the page that compares."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fakes
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phibench.compare import comparison
from phibench.compare.selection import Selection
from phibench.core import files, folders, run_files
from phibench.core.nouns import Energy, Measured, Need, Result, Run, Sample, Setup, Suite, Window, Workload

pytest.importorskip("streamlit", reason="needs pip install 'phibench[dashboard]'")

sys.path.insert(0, str(folders.data_dir("dashboard")))  # as Streamlit does for its script

import charts
import compare_table
import result_lines
import results_table
from browsed import alone, words

THROUGHPUT = ("prefill_tps", "decode_tps", "sequence_tps")
MEMORY = ("host_peak_bytes", "host_needed_bytes", "device_peak_bytes", "max_context_tokens")
ENERGY = ("prefill_j_per_token", "decode_j_per_token", "decode_net_j_per_token")
HEADINGS = {"Several sequences at once", "Speed over time", "Memory", "Opening the model", "Decode energy"}
RIVAL = Setup(variant="phi-4-mini-instruct", quantization="bf16", backend="torch")
TG = fakes.workload(0, 32)


def run(day: int, suite: str, metrics: tuple[str, ...], *results: Result, **facts: Any) -> Run:
    made = fakes.run(*results, metrics=metrics, name=suite, started=f"2026-07-{day:02d}")
    at = {"2026-07-01T10:00:00Z": made.started}  # of results that name no time of their own
    facts["results"] = tuple(msgspec.structs.replace(r, at=at.get(r.at, r.at)) for r in results)
    short = facts.pop("short", False)
    return msgspec.structs.replace(made, suite=msgspec.structs.replace(made.suite, short=short), **facts)


def batches(speeds: dict[int, float], setup: Setup = fakes.SETUP) -> list[Measured]:
    """``speeds``: batch -> tokens per second in all."""
    return [
        fakes.measured(fakes.workload(128, 32, batch=batch), (batch / tps,), setup) for batch, tps in speeds.items()
    ]


def sustained(before: float, after: float) -> Measured:
    """Two minutes at one speed, two at another."""
    samples, now = [], 0.0
    while now < 240:
        tps = before if now < 120 else after
        samples.append(Sample(arrivals_s=tuple((i + 1) / tps for i in range(32)), start_s=now))
        now += 32 / tps
    windows = (Window(kind="work", seconds=now, tests=len(samples)),)
    return msgspec.structs.replace(fakes.measured(TG), samples=tuple(samples), windows=windows)


def memory(needed: float, peak: float, predicted: Need | None = None) -> Measured:
    work = Workload(prompt_tokens=64, new_tokens=4, room=2048)
    readings = {"host_needed_bytes": needed, "host_peak_bytes": peak}
    return msgspec.structs.replace(fakes.measured(work), readings=readings, predicted=predicted)


def loads() -> list[Measured]:
    return [
        msgspec.structs.replace(fakes.measured(fakes.workload(16, 0), launch=launch), readings={name: seconds})
        for launch, (name, seconds) in enumerate((("load_cold_s", 6.0), ("load_warm_s", 1.5)))
    ]


def energy(source: str = "RAPL package-0") -> Measured:
    sample = fakes.sample(TG, 0.1)
    seconds = sample.arrivals_s[-1]
    work, idle = (
        Energy(name=source, scope="cpu_package", method="counter", joules=watts * seconds, seconds=seconds)
        for watts in (30, 10)
    )
    windows = (
        Window(kind="idle", seconds=seconds, energy=(idle,)),
        Window(kind="work", seconds=seconds, tests=1, energy=(work,)),
    )
    return msgspec.structs.replace(fakes.measured(TG), samples=(sample,), windows=windows)


def every_suite() -> list[Run]:
    return [
        run(1, "throughput", THROUGHPUT, *batches({1: 10, 2: 18, 4: 18.5})),
        run(2, "sustained", ("decode_tps", "sustained_tps"), sustained(12, 9)),
        run(3, "memory", MEMORY, memory(2.6e9, 4.1e9)),
        run(4, "load", ("load_cold_s", "load_warm_s"), *loads()),
        run(5, "energy", ENERGY, energy()),
    ]


def save(folder: Path, runs: Sequence[Run]) -> None:
    for one in runs:
        files.write_json(run_files.run_path(folder, one), one)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results folder that the app will read."""
    monkeypatch.setattr(sys, "argv", ["app.py", "--results", str(tmp_path / "results")])
    return tmp_path / "results"


# -------------------------------------------------------------------------------------------- the tables


def test_the_knee_is_the_batch_from_which_on_more_brings_little() -> None:
    lines = results_table.frame([run(1, "throughput", THROUGHPUT, *batches({1: 10, 2: 18, 4: 18.5, 8: 19}))])
    found = result_lines.batches(lines, "decode_tps", "pp128+tg32")
    assert found["batch"].tolist() == [1, 2, 4, 8]
    assert found["knee"].tolist() == [False, True, False, False]


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.integers(1, 64), st.floats(1, 1e4), min_size=2, max_size=7))
def test_a_curve_has_every_batch_once_and_one_knee_at_most(speeds: dict[int, float]) -> None:
    lines = results_table.frame([run(1, "throughput", THROUGHPUT, *batches(speeds))])
    found = result_lines.batches(lines, "decode_tps", "pp128+tg32")
    assert found["batch"].tolist() == sorted(speeds)
    assert found["knee"].sum() <= 1
    assert not found["knee"].iloc[-1]


def test_batches_of_two_runs_are_never_mixed_into_one_curve() -> None:
    runs = [
        run(1, "throughput", THROUGHPUT, *batches({1: 10, 2: 18, 4: 30})),
        run(2, "throughput", THROUGHPUT, *batches({1: 20, 2: 36})),
    ]
    found = result_lines.batches(results_table.frame(runs), "decode_tps", "pp128+tg32")
    assert found["batch"].tolist() == [1, 2]
    assert found["decode_tps"].tolist() == [pytest.approx(20, rel=0.05), pytest.approx(36, rel=0.05)]


def test_one_batch_alone_is_no_curve() -> None:
    runs = [run(1, "throughput", THROUGHPUT, *batches({1: 10})), run(2, "throughput", THROUGHPUT, *batches({4: 30}))]
    assert result_lines.shapes(results_table.frame(runs), "decode_tps") == []


def test_a_change_of_speed_is_marked_where_it_begins() -> None:
    whole = run(1, "sustained", ("decode_tps", "sustained_tps"), sustained(12, 9))
    line = results_table.frame([whole]).iloc[0]
    points = result_lines.over_time(whole, line["setup"], line["test"], line["slice"])
    (at_s,) = points[points["change"]]["at_s"]
    assert at_s == pytest.approx(120, abs=5)
    assert points["tps"].iloc[0] == pytest.approx(12)
    assert points["tps"].iloc[-1] == pytest.approx(9)


def test_a_steady_speed_has_no_mark() -> None:
    whole = run(1, "sustained", ("decode_tps", "sustained_tps"), sustained(12, 12))
    line = results_table.frame([whole]).iloc[0]
    assert not result_lines.over_time(whole, line["setup"], line["test"], None)["change"].any()
    assert result_lines.over_time(whole, line["setup"], line["test"], "4 layers").empty


def test_a_short_or_imported_run_never_stands_for_a_full_one() -> None:
    full, short, imported = (
        run(1, "latency", fakes.LATENCY, fakes.measured(TG, (0.1,))),
        run(2, "latency", fakes.LATENCY, fakes.measured(TG, (0.05,)), short=True),
        run(
            3,
            "llama-bench",
            fakes.LATENCY,
            fakes.measured(TG, (0.02,)),
            imported="llama-bench 6f180b91 (9672)",
            imported_tool="llama-bench",
        ),
    )
    lines = results_table.latest(results_table.frame([full, short, imported]), "decode_tps", "tg32")
    speeds = dict(zip(lines["kind"], lines["decode_tps"], strict=True))
    assert speeds == {"full": pytest.approx(10), "short": pytest.approx(20), "from llama-bench": pytest.approx(50)}
    labels = dict(zip(lines["kind"], lines["label"], strict=True))
    assert "short" in labels["short"]
    assert "llama-bench" in labels["from llama-bench"]
    assert labels["full"] not in (labels["short"], labels["from llama-bench"])


def test_tests_of_one_sequence_come_before_those_of_many() -> None:
    lines = results_table.frame([run(1, "throughput", THROUGHPUT, *batches({4: 30, 16: 40, 1: 10}))])
    assert results_table.tests(lines, "decode_tps") == ["pp128+tg32", "pp128+tg32 x4", "pp128+tg32 x16"]


def test_what_cannot_be_measured_here_is_no_failure() -> None:
    reason = "unavailable: this machine exposes no energy counter (is it a virtual machine?)"
    lines = results_table.frame(
        [run(1, "energy", ENERGY, fakes.failed(TG, reason, cause="unavailable"), fakes.failed(TG, "killed", RIVAL))]
    )
    assert sorted(lines["status"]) == ["failed", "unavailable"]


def test_axes_carry_units_and_points_their_scale() -> None:
    lines = results_table.frame(every_suite())
    batch = charts.batches(result_lines.batches(lines, "decode_tps", "pp128+tg32"), "decode_tps", "light").to_dict()
    assert batch["layer"][0]["encoding"]["x"]["scale"]["base"] == 2
    assert batch["layer"][0]["encoding"]["y"]["title"] == "Decode in all, tok/s"
    marks = {"host_needed_bytes": "needed", "predicted_peak_bytes": "peak, predicted", "host_peak_bytes": "peak"}
    watched = results_table.latest(lines, "host_peak_bytes", "pp64+tg4 in 2048")
    drawn = charts.dots(watched, marks, "Memory, GiB", "dark", 2.0**-30).to_dict()
    (row,) = next(iter(drawn["datasets"].values()))
    assert row["host_peak_bytes"] == pytest.approx(4.1e9 / 2**30)
    assert "predicted_peak_bytes" not in row  # nobody knows it


def test_a_line_says_what_energy_was_read_from_and_what_peak_was_foretold() -> None:
    need = Need(weights_bytes=5, kv_bytes=4, compute_bytes=3, runtime_bytes=2, reclaimable_bytes=1, because="")
    lines = results_table.frame(
        [run(5, "energy", ENERGY, energy("NVML")), run(3, "memory", MEMORY, memory(2.6e9, 4.1e9, need))]
    )
    assert lines["energy"].dropna().tolist() == ["NVML (cpu_package, counter)"]
    assert lines["predicted_peak_bytes"].fillna(0).tolist() == [0, 15]


# --------------------------------------------------------------------------------------------- the pages


def test_sections_appear_where_there_is_data_and_nowhere_else(results: Path) -> None:
    save(results, every_suite())
    assert {heading.value for heading in alone("results.py").subheader} >= HEADINGS
    other = results.parent / "other"
    peak = msgspec.structs.replace(fakes.measured(TG), readings={"host_peak_bytes": 4.1e9})
    save(other, [run(1, "latency", (*fakes.LATENCY, "host_peak_bytes"), peak)])
    sys.argv[-1] = str(other)
    assert not HEADINGS & {heading.value for heading in alone("results.py").subheader}


def test_the_sections_say_what_was_found(results: Path) -> None:
    save(results, every_suite())
    shown = words(alone("results.py")).replace("\\", "")
    assert "the knee of decode: a batch of 4 gives +3%" in shown
    assert "slower from 2 min" in shown
    assert "RAPL package-0 (cpu_package, counter)" in shown


def test_columns_of_the_table_are_those_that_somebody_knows(results: Path) -> None:
    save(results, every_suite())
    columns = set(alone("results.py").dataframe[0].value.columns)
    assert {"sustained_tps", "host_needed_gib", "load_cold_s", "decode_j_per_token"} <= columns
    assert not {"device_peak_gib", "prefill_j_per_token", "kind"} & columns


def test_a_run_of_memory_quotes_no_timings(results: Path) -> None:
    save(results, [run(3, "memory", MEMORY, memory(2.6e9, 4.1e9))])
    app = alone("results.py")
    assert {heading.value for heading in app.subheader} == {"Memory", "Every test, newest first"}
    assert not {"prefill_tps", "decode_tps"} & set(app.dataframe[0].value.columns)


def test_what_is_not_measurable_has_a_line_with_its_remedy_and_no_failure(results: Path) -> None:
    why = "RAPL package-0: sudo chmod o+r energy_uj"
    save(results, [run(1, "energy", ENERGY, fakes.failed(TG, f"unavailable: {why}", cause="unavailable", why=why))])
    app = alone("results.py")
    headings = {heading.value for heading in app.subheader}
    assert "Not measurable here" in headings
    assert not any("failed" in heading for heading in headings)
    shown = words(app).replace("\\", "")
    assert "- RAPL package-0: sudo chmod o+r energy_uj" in shown


def test_marks_and_doubts_of_a_run_stand_beside_its_figures(results: Path) -> None:
    doubt = "other programs kept 47% of the cpus busy during tg32"
    save(results, [run(1, "latency", fakes.LATENCY, fakes.measured(TG), short=True, warnings=(doubt,))])
    app = alone("results.py")
    line = app.dataframe[0].value.iloc[0]
    assert line["kind"] == "short"
    assert line["doubts"] == doubt
    assert doubt in words(app).replace("\\", "")


def test_many_tests_are_a_list_to_choose_from(results: Path) -> None:
    save(results, [run(1, "throughput", THROUGHPUT, *batches({2**n: 10 + n for n in range(6)}))])
    app = alone("results.py")
    chooser = next(box for box in app.selectbox if box.label == "Test for Decode")
    assert chooser.options[0] == chooser.value == "pp128+tg32"
    assert not chooser.select("pp128+tg32 x32").run().exception


def test_hostile_text_in_any_note_stays_text(results: Path) -> None:
    hostile = "**bold** <b>b</b> [link](http://evil.example)"
    result = msgspec.structs.replace(sustained(12, 9), notes=(hostile,))
    for day in (1, 2):
        one = run(day, "sustained", ("decode_tps", "sustained_tps"), result, warnings=(hostile,), imported=hostile)
        save(results, [one])
    for page in ("results.py", "compare.py"):
        shown = words(alone(page))
        assert "bold" in shown
        assert "**bold**" not in shown
        assert "<b>" not in shown.replace("\\<", "")
        assert "](http" not in shown


# ------------------------------------------------------------------------------------------ the comparison


def turns(day: int, slower: float) -> Run:
    """Eight launches of two setups in turns; the second takes ``slower`` times as long."""
    made = []
    for launch in range(8):
        for place, (setup, factor) in enumerate(((fakes.SETUP, 1.0), (RIVAL, slower))):
            result = fakes.measured(TG, (0.1 * factor * (1 + 0.001 * launch),), setup, launch)
            made.append(msgspec.structs.replace(result, at=f"2026-07-{day:02d}T10:{launch:02d}:{place:02d}Z"))
    return run(day, "latency", fakes.LATENCY, *made)


def test_the_page_says_what_the_command_says(results: Path) -> None:
    whole = turns(1, 1.5)
    save(results, [whole])
    app = alone("compare.py")
    a, b = (box.value for box in app.selectbox)
    sides = [
        Selection(text=text, runs=(whole,), setup=s) for text in (a, b) for s in (fakes.SETUP, RIVAL) if text == str(s)
    ]
    said = [row["says"] for row in comparison.compare(*sides).rows]
    lines = app.dataframe[0].value
    assert lines["says"].tolist() == said
    assert set(lines["verdict"]) == {"better"}
    assert any(text.startswith("faster 50%") for text in said)
    assert f"phibench compare {a} {b}" in words(app)


def test_runs_one_after_the_other_get_no_verdict(results: Path) -> None:
    save(results, [turns(1, 1.5), turns(2, 1.5)])
    app = alone("compare.py")
    lines = app.dataframe[0].value
    assert set(lines["verdict"]) == {"no verdict"}
    assert all("not taken in turns" in text for text in lines["says"])
    assert "measure A B, then B A" in words(app).replace("\\", "")


def test_what_has_nothing_in_common_is_said_in_words(results: Path) -> None:
    save(results, [run(1, "latency", fakes.LATENCY, fakes.measured(TG)), every_suite()[2]])
    app = alone("compare.py")
    assert "no figure in common" in words(app)
    assert not len(app.dataframe)


def test_without_a_second_run_or_setup_there_is_nothing_to_compare(results: Path) -> None:
    assert "phibench quickstart" in words(alone("compare.py"))
    save(results, [run(1, "latency", fakes.LATENCY, fakes.measured(TG))])
    assert "only one run" in words(alone("compare.py"))


def test_runs_to_choose_from_are_marked_and_the_newest_comes_first() -> None:
    suite = Suite(name="latency", question="?", metrics=fakes.LATENCY, short=True)
    short = msgspec.structs.replace(turns(2, 1.1), suite=suite)
    failed = run(3, "latency", fakes.LATENCY, fakes.failed(TG))
    names = list(compare_table.KINDS["Runs"]([turns(1, 1.5), short, failed]))
    assert [name.split()[0] for name in names] == ["2026-07-02T100000Z", "2026-07-01T100000Z"]
    assert names[0].endswith("short")
