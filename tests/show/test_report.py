"""The page that is mailed: whole, true to the run, and harmless whatever the run file says."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Phibench
from fakes import LATENCY, SETUP, failed, measured, run, sample, workload
from hypothesis import example, given
from hypothesis import strategies as st

from phibench.core import files, run_files
from phibench.core.nouns import Energy, Measured, Result, Run, Setup, Warmup, Window
from phibench.machine.asked import described
from phibench.show import report, svg
from phibench.show.svg import Bar, Series, Stack

replace = msgspec.structs.replace
PP, TG = workload(512, 0), workload(0, 4)
OTHER = Setup(variant="phi-4-mini-instruct", quantization="int4", backend="onnxruntime")
EVIL = '</style><script>alert(1)</script><img src=x onerror=\'a()\'>"><a href="javascript:a()">&\x00\u202e'
VOID = {"meta", "rect", "line", "path", "polyline"}
ALLOWED = {"html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "h3", "p", "ul", "li", "div",
    "span", "strong", "i", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "figure", "figcaption",
    "details", "summary", "svg", "rect", "line", "path", "polyline", "footer"}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "style", "role", "aria-label", "width",
    "height", "x", "x1", "x2", "y1", "y2", "rx", "d", "points", "viewbox", "preserveaspectratio"}  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: elements that are closed in order, their attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(*runs: Run) -> Page:
    return Page(report.page(runs))


def everything() -> Run:
    """A run with all that a page can show."""
    good = [
        replace(
            measured(work, (0.1, 0.11, 0.12), setup=setup),
            notes=("a note",),
            windows=(
                Window(
                    kind="work",
                    seconds=10,
                    tests=3,
                    energy=(
                        Energy(name="package-0", scope="cpu_package", method="counter", joules=123.4, seconds=10.0),
                        Energy(name="dram", scope="dram", method="counter", joules=None, seconds=10.0, note="stuck"),
                    ),
                ),
            ),
        )
        for setup in (SETUP, OTHER)
        for work in (PP, TG, workload(0, 4, batch=2), workload(0, 4, batch=4))
    ]
    good = [replace(r, engine=replace(r.engine, buffers={"weights": 2 << 30, "kv": 1 << 30})) for r in good]
    work = workload(0, 8)
    steady = tuple(replace(sample(work, 0.1), start_s=float(i)) for i in range(500))
    long = replace(measured(work), samples=steady)
    whole = run(*good, long, failed(workload(0, 4, depth=9)), metrics=(*LATENCY, "sustained_tps", "decode_j_per_token"))
    return replace(whole, warnings=("something else was running",))


# ------------------------------------------------------------------------------------------------- what it shows


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    source = report.page([everything()])
    found = Page(source)
    assert {tag for tag, _ in found.elements} <= ALLOWED
    assert {key for _, attributes in found.elements for key in attributes} <= ATTRIBUTES
    assert "default-src 'none'" in source
    assert not re.search(r"https?:|url\(|@import|src=|href=", source)


def test_every_part_of_a_run_is_there() -> None:
    text = page(everything()).text
    for words in (
        "Phi on AMD EPYC 9B14", "How fast?", "2026-07-01 10:00:00 UTC", "synthetic weights", "Doubtful",
        "something else was running", "Prefill, tok/s: more is better", "Decode of all sequences together",
        "Decode over time", "Memory by use", "weights", "Not measured", "killed by SIGKILL",
        "onnxruntime/cpu, 0.3.36: no layers on GPU", "Energy as it was read",
        "package-0", "123", "stuck", "a note", "How it was measured", "timed 5 times", "Conditions", "load", "0.10",
        "2 physical, 2 logical", "24 GiB", "Software", "0.1.0",
    ):  # fmt: skip
        assert words in text, words


def test_a_figure_stands_with_its_interval_and_the_unknown_as_unknown() -> None:
    text = page(run(*(measured(PP, (0.1,), launch=i) for i in range(8)), measured(TG, (0.1, 0.2)))).text
    assert "512 [" not in text  # all launches equal: no interval
    assert "7.50 [5.00..10.00]" in text
    assert "–" in text


def test_where_figures_come_from_is_said() -> None:
    plain = run(measured(PP))
    assert "short: a first look" in page(replace(plain, suite=replace(plain.suite, short=True))).text
    assert "an example that comes with phibench" in page(replace(plain, example=True)).text
    imported = page(replace(plain, imported="llama-bench b5163", conditions={})).text
    assert "imported from llama-bench b5163" in imported
    assert "saw neither the run nor its conditions" in imported
    assert "Conditions were not recorded" in imported
    assert "a slice of 8 layers" in page(run(measured(PP, layers=8))).text
    for tag in ("short", "example", "imported", "slice", "doubtful"):
        assert tag not in page(plain).text


def test_what_could_not_be_measured_is_shown_with_its_reason() -> None:
    reason = "unavailable: no energy meter can be read; sudo chmod a+r energy_uj"
    text = page(run(failed(PP, reason, cause="unavailable"), failed(TG, "needs 31 GiB"))).text
    assert "Nothing could be measured" in text
    assert reason in text
    assert "needs 31 GiB" in text
    assert "It holds no results" in page(run()).text


def test_conditions_are_told_in_their_units() -> None:
    told = {"before_free_bytes": "23590993920", "after_free_bytes": "x", "before_busy_share": "0.25", "load_1m": "9.5"}
    text = page(replace(run(measured(PP)), conditions=told)).text
    assert "free 22 GiB x busy 25.0% – load 1m 9.5 –" in text


def test_the_protocol_is_told_as_it_was() -> None:
    once = replace(run().suite, repetitions=1, launches=8, warmup=Warmup(max_windows=0), fresh=True)
    text = page(replace(run(measured(PP)), suite=once)).text
    assert "timed once, in 8 worker processes each" in text
    assert "There is no warm-up run before it" in text
    assert "its own worker process" in text
    long = replace(once, window_s=600.0, idle_s=30.0, warmup=Warmup())
    text = page(replace(run(measured(PP)), suite=long)).text
    assert "runs for 10 min" in text
    assert "rests 30 s before and after" in text
    assert "until 3 agree within 3%, at most 5 times and for at most 10 s" in text


def test_no_name_of_a_machine_or_folder() -> None:
    assert "somebody" not in report.page([everything()])


def test_several_runs_share_one_machine() -> None:
    text = page(run(measured(PP)), run(measured(TG), name="energy")).text
    assert text.count("physical, 2 logical") == 1
    assert "Latency" in text
    assert "Energy" in text


def test_a_peak_of_the_worker_is_one_bar_for_each_setup() -> None:
    readings = {"host_peak_bytes": 3e9}
    results = [replace(measured(work, setup=s), readings=readings) for s in (SETUP, OTHER) for work in (PP, TG)]
    one = replace(run(*results), suite=replace(run().suite, metrics=("host_peak_bytes",)))
    each = replace(one, suite=replace(one.suite, fresh=True))
    assert len(rects(report.page([one]))) == 2
    assert len(rects(report.page([each]))) == 4


# ------------------------------------------------------------------------------------------- nothing does harm


def spoiled(value: Any, kind: Any) -> Any:
    """Every text that the noun lets be anything is ``EVIL``; keys too."""
    data = msgspec.to_builtins(value)

    def tried(change: Any, undo: Any) -> None:
        change()
        try:
            msgspec.convert(data, kind)
        except msgspec.ValidationError:
            undo()

    def walk(inner: Any) -> None:
        places = list(inner.items()) if isinstance(inner, dict) else list(enumerate(inner))
        for key, old in places:
            if isinstance(old, dict | list):
                walk(old)
            elif isinstance(old, str) and key not in ("started", "status"):
                tried(lambda k=key: inner.__setitem__(k, EVIL), lambda k=key, o=old: inner.__setitem__(k, o))

    walk(data)
    data["conditions"] = data["software"] = {EVIL: EVIL}
    for result in data["results"]:
        result.get("engine", {})["buffers"] = {EVIL: 5}
    data["suite"]["metrics"] = list(value.suite.metrics)
    return msgspec.convert(data, kind)


def test_a_curve_over_batches_is_named_by_the_test_of_one_sequence() -> None:
    whole = run(*(measured(workload(0, new, batch=batch)) for new in (4, 8) for batch in (2, 4)))
    assert {"tg4", "tg8"} <= set(page(whole).words)


def test_energy_is_shown_with_what_its_meter_remarked() -> None:
    head = "source of read as joules seconds"
    assert f"{head} remark" in page(everything()).text
    assert "dram dram counter – 10.0 stuck" in page(everything()).text
    seen = [r for r in everything().results if isinstance(r, Measured)]
    good = tuple(replace(r, windows=tuple(replace(w, energy=w.energy[:1]) for w in r.windows)) for r in seen)
    quiet = replace(everything(), results=good)
    assert head in page(quiet).text
    assert "remark" not in page(quiet).text


def test_no_text_of_a_run_becomes_markup() -> None:
    bad = replace(spoiled(everything(), Run), imported=EVIL, machine=spoiled_machine())
    for one in (bad, replace(bad, imported="")):
        source = report.page([one])
        found = Page(source)
        assert {tag for tag, _ in found.elements} <= ALLOWED
        assert {key for _, attributes in found.elements for key in attributes} <= ATTRIBUTES
        assert "<script" not in source
        assert not re.search(r"[\x00-\x08\u202e]", source)
        assert found.text.count("alert(1)") >= 12  # in title, question, tags, captions, tables, notes, facts, ...
        assert "Energy as it was read" in found.text
        assert "Not measured" in found.text


def spoiled_machine() -> Any:
    whole = run().machine
    cpu = replace(whole.devices[0], name=EVIL, because=EVIL, read_bytes_s=1e10)
    return replace(whole, name=EVIL, os=EVIL, arch=EVIL, devices=(cpu,))


def test_a_table_of_odd_numbers_is_still_a_page() -> None:
    zero = replace(measured(TG), readings={"host_peak_bytes": 0.0})
    huge = replace(measured(PP), readings={"host_peak_bytes": 1e300})
    one = run(zero, huge, metrics=(*LATENCY, "host_peak_bytes"))
    assert page(replace(one, suite=replace(one.suite, fresh=True))).text


# ------------------------------------------------------------------------------------------------------- charts


def rects(source: str) -> list[float]:
    return [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)%"', source)]


POSITIVE = st.floats(1e-12, 1e12)


@given(st.lists(POSITIVE, min_size=1, max_size=9))
def test_bars_are_as_long_as_their_values(values: list[float]) -> None:
    widths = rects(svg.bars("t", [Bar(label="a", value=v, text="b") for v in values]))
    assert max(widths) == pytest.approx(100, abs=0.01)
    assert widths == pytest.approx([100 * v / max(values) for v in values], abs=0.01)


def test_an_interval_is_drawn_where_there_is_one_and_fits_the_scale() -> None:
    wide = Bar(label="a", value=1, text="1", low=0.5, high=2.0)
    one = svg.bars("t", [wide, Bar(label="b", value=1, text="1", low=1, high=1)])
    assert rects(one) == [50.0, 50.0]
    drawn = re.findall(r'class="range" x1="([\d.]+)%" x2="([\d.]+)%"', one)
    assert drawn == [("25.00", "100.00"), ("25.00",) * 2, ("100.00",) * 2]


@given(st.lists(st.tuples(POSITIVE, st.floats(0, 1e12)), min_size=1, max_size=9), st.booleans())
@example([(1.0, 5e-324)], False)
def test_points_of_a_line_lie_in_the_plot(points: list[tuple[float, float]], doubling: bool) -> None:
    drawn = svg.lines("t", [Series(label="a", points=tuple(sorted(points)))], "x", doubling=doubling)
    (path,) = re.findall(r'points="([^"]*)"', drawn)
    for pair in path.split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 100
        assert -0.01 <= y <= 100
    assert 2 <= len(re.findall(r'<span style="bottom', drawn)) <= 7


def test_batches_that_double_stand_in_equal_steps() -> None:
    points = tuple((float(2**i), 1.0) for i in range(5))
    (path,) = re.findall(r'points="([^"]*)"', svg.lines("t", [Series(label="a", points=points)], "x", doubling=True))
    assert [float(pair.split(",")[0]) for pair in path.split()] == [0, 25, 50, 75, 100]


@given(POSITIVE)
def test_an_axis_has_a_few_round_steps_and_holds_its_values(most: float) -> None:
    top, step = svg._axis(most)
    assert most <= top * (1 + 1e-6)
    assert 2 <= round(top / step) <= 5
    power = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(power == pytest.approx(round_one) for round_one in (1, 2, 5, 10))


def test_parts_of_a_stack_follow_each_other() -> None:
    first = Stack(label="a", parts=(("w", 2.0), ("kv", 1.0)), text="3")
    drawn = svg.stacks("t", [first, Stack(label="b", parts=(("w", 6.0),), text="6")])
    found = re.findall(r'class="(c\d)" x="([\d.]+)%" width="([\d.]+)%"', drawn)
    assert found == [("c0", "0.00", "33.33"), ("c1", "33.33", "16.67"), ("c0", "0.00", "100.00")]


def test_the_knee_of_a_batch_has_a_ring() -> None:
    def at(batch: int, speed: float) -> Result:
        return measured(workload(0, 4, batch=batch), (batch / speed,))

    source = report.page([run(at(1, 10), at(2, 19), at(4, 20), at(8, 20.5), metrics=("decode_tps",))])
    assert "the knee at 2" in source
    assert source.count('class="knee"') == 1
    assert "Decode, tok/s: more is better" not in source  # said by the curve


def test_a_long_line_is_thinned_to_medians() -> None:
    (figure,) = [part for part in report.page([everything()]).split("<figure>") if "Decode over time" in part]
    (path,) = re.findall(r'points="([^"]*)"', figure)
    assert 100 < len(path.split()) <= 250


# ------------------------------------------------------------------------------------------------ which run it is


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    for day, name in (("2026-07-01", "latency"), ("2026-07-02", "energy")):
        one = run(measured(PP), name=name, started=day)
        files.write_json(run_files.run_path(tmp_path / "results", one), one)
    example = replace(run(measured(PP), started="2026-07-09"), example=True)
    files.write_json(run_files.run_path(tmp_path / "results", example), example)
    return tmp_path / "results"


@pytest.mark.parametrize(
    ("words", "suites"),
    [
        ((), ["energy"]),
        (("latest",), ["energy"]),
        (("2026-07-01",), ["latency"]),
        (("2026-07-02T100000Z", "2026-07-01", "latest"), ["energy", "latency"]),
    ],
)
def test_a_run_is_found_by_its_id_or_as_the_latest(stored: Path, words: tuple[str, ...], suites: list[str]) -> None:
    assert [one.suite.name for one in report.chosen(words, stored, run_files.read_runs(stored)[0])] == suites


def test_the_page_is_written_and_named(phibench: Phibench, stored: Path, tmp_path: Path) -> None:
    file = next(stored.rglob("*latency.json"))
    done = phibench("report", str(file), "--out", str(tmp_path / "page.html"))
    assert (done.code, done.out) == (0, "")
    assert "page.html" in done.err
    assert "Latency" in Page((tmp_path / "page.html").read_text(encoding="utf-8")).text


def test_it_ends_with_the_phi_that_fits_why_and_the_lines_that_run_it(
    phibench: Phibench, stored: Path, tmp_path: Path
) -> None:
    place, one = tmp_path / "page.html", run(measured(PP))
    laptop = replace(one, machine=described("RTX 4060 Laptop", None, "16GiB", "linux", None).machine)
    files.write_json(tmp_path / "laptop.json", laptop)
    asked = ("--gpu", "RTX 4060 Laptop", "--ram", "16GiB", "--os", "linux")
    for goal in ("chat", "code"):
        assert phibench("report", str(tmp_path / "laptop.json"), "--goal", goal, "--out", str(place)).code == 0
        page = Page(source := place.read_text(encoding="utf-8"))
        assert f"Which Phi for {goal}" in page.text
        said = " ".join(phibench("recommend", *asked, "--goal", goal, "--top", "3").out.split())
        first, why = re.search(r"1 (\S+:\S+) .*?GiB (.*?) 2 phi", said).groups()  # type: ignore[union-attr]
        assert first in page.text
        assert why in page.text
        for line in phibench("recommend", *asked, "--goal", goal, "--run").out.splitlines():
            assert svg.shown(line.removeprefix("# ")) in source or not line, line
        assert "--run" not in page.text.partition("Run it")[0]  # the lines are there
        assert {tag for tag, _ in page.elements} <= ALLOWED | {"pre"}
        assert {key for _, attributes in page.elements for key in attributes} <= ATTRIBUTES | {"colspan", "open"}


def test_the_advice_names_hardware_and_not_what_somebody_called_it(phibench: Phibench, tmp_path: Path) -> None:
    machine = described("RTX 4060 Laptop", None, "16GiB", "linux", None).machine
    files.write_json(tmp_path / "own.json", replace(run(measured(PP)), machine=replace(machine, name="Hans-Laptop")))
    assert phibench("report", str(tmp_path / "own.json"), "--out", str(tmp_path / "own.html")).code == 0
    source = (tmp_path / "own.html").read_text("utf-8")
    assert "Hans" not in source
    assert "on Core i7-12700H and RTX 4060 Laptop" in Page(source).text.partition("Which Phi for chat")[2]


def test_where_nothing_fits_the_page_tells_the_nearest(phibench: Phibench, tmp_path: Path) -> None:
    small = described(None, "Raspberry Pi 5", "4GiB", None, None).machine
    files.write_json(tmp_path / "small.json", replace(run(), machine=small))  # nothing was measured
    assert phibench("report", str(tmp_path / "small.json"), "--out", str(tmp_path / "small.html")).code == 0
    text = Page((tmp_path / "small.html").read_text("utf-8")).text
    said = " ".join(phibench("recommend", "--cpu", "Raspberry Pi 5", "--ram", "4GiB").out.split())
    nearest = "Nothing fits. The nearest is " + said.partition("Nothing fits. The nearest is ")[2].partition(")")[0]
    assert nearest in text


@pytest.mark.parametrize("out", ["own.json", "OTHER.JSON"])
def test_a_page_is_not_written_over_a_run(phibench: Phibench, tmp_path: Path, out: str) -> None:
    files.write_json(tmp_path / "own.json", run(measured(PP)))
    before = (tmp_path / "own.json").read_bytes()
    done = phibench("report", str(tmp_path / "own.json"), "--out", str(tmp_path / out))
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert (tmp_path / "own.json").read_bytes() == before
    assert not (tmp_path / "OTHER.JSON").exists()


def test_a_device_of_a_strangers_file_puts_no_words_into_a_command(phibench: Phibench, tmp_path: Path) -> None:
    files.write_json(tmp_path / "own.json", run(measured(PP)))
    text = (tmp_path / "own.json").read_text("utf-8").replace('"kind":"cpu"', '"kind":"cpu; touch x"')
    text = text.replace('"kind": "cpu"', '"kind": "cpu; touch x"')
    assert "touch x" in text
    (tmp_path / "evil.json").write_text(text, "utf-8")
    done = phibench("report", str(tmp_path / "evil.json"), "--out", str(tmp_path / "evil.html"))
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert not (tmp_path / "evil.html").exists()


def test_what_the_page_shows_counts_for_its_advice(phibench: Phibench, tmp_path: Path) -> None:
    """Seen: of a run that is an example its own figures were not known in the advice below them."""
    whole = Setup(variant="phi-4-mini-instruct", quantization="Q4_K_M", backend="llama_cpp")
    machine = described(None, "Core i7-12700H", "16GiB", "linux", None).machine
    one = run(*(measured(work, (0.5, 0.5), setup=whole) for work in (workload(256, 0), workload(0, 32))))
    for name, is_example in (("own", False), ("example", True)):
        files.write_json(tmp_path / f"{name}.json", replace(one, machine=machine, example=is_example))
        assert phibench("report", str(tmp_path / f"{name}.json"), "--out", str(tmp_path / f"{name}.html")).code == 0
    own, other = (Page((tmp_path / f"{name}.html").read_text("utf-8")).text for name in ("own", "example"))
    assert "measured here" in own.partition("Which Phi for chat")[2]
    assert own.partition("Which Phi for chat")[2] == other.partition("Which Phi for chat")[2]


def test_where_nothing_fits_the_page_says_so_and_has_no_lines(phibench: Phibench, tmp_path: Path) -> None:
    tiny = replace(run(measured(PP)), machine=described(None, "Raspberry Pi 4", "1GiB", None, None).machine)
    files.write_json(tmp_path / "tiny.json", tiny)
    assert phibench("report", str(tmp_path / "tiny.json"), "--out", str(tmp_path / "page.html")).code == 0
    text = Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "Which Phi for chat" in text
    assert "Run it" not in text


def test_a_goal_that_is_none_is_one_line(phibench: Phibench, stored: Path) -> None:
    done = phibench("report", "latest", "--goal", "chatt")
    assert (done.code, "did you mean 'chat'?" in done.err, len(done.err.splitlines())) == (2, True, 1)


@pytest.mark.parametrize(
    ("word", "why", "code"),
    [
        ("2026-07-0", "is the beginning of 3 runs: 2026-07-01T100000Z (latency), ", 2),
        ("1999", "no run '1999' in", 2),
        ("absent.json", "there is no file absent.json", 1),
    ],
)
def test_what_names_no_run_is_one_line(phibench: Phibench, stored: Path, word: str, why: str, code: int) -> None:
    done = phibench("report", word)
    assert (done.code, why in done.err, len(done.err.splitlines())) == (code, True, 1), done.err


def test_without_runs_it_says_how_to_make_one(phibench: Phibench) -> None:
    done = phibench("report")
    assert (done.code, "phibench run quick" in done.err) == (2, True)
