"""Comparisons through the command line: what makes a pair, who is faster, and what is left out."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fakes
import msgspec
import pytest
from conftest import Outcome, Phibench
from fakes import LATENCY, SETUP, measured, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench.compare import comparison, pairing
from phibench.core import files, run_files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Machine, Measured, Noun, Run, Setup

DECODE = workload(0, 4)
HERE, OTHER = fakes.machine(), fakes.machine(cpu="Another CPU")
TORCH = msgspec.structs.replace(SETUP, backend="torch", quantization="bf16")
WOBBLE = [1.0, 1.004, 0.997, 1.002, 0.999, 1.003, 0.998, 1.001]


class Timed(Noun, frozen=True):
    """One launch: seconds of a decoded token, and when it was measured (minutes)."""

    step_s: float
    minute: int


def made(timed: Timed, launch: int = 0, setup: Setup = SETUP, **changes: Any) -> Measured:
    result = measured(DECODE, [timed.step_s], setup=setup, launch=launch)
    at = f"2026-07-01T{timed.minute // 60:02}:{timed.minute % 60:02}:00Z"
    return msgspec.structs.replace(result, at=at, **changes)


def runs(steps: Sequence[Timed], machine: Machine = HERE, **changes: Any) -> list[Run]:
    """Each launch a run of its own, as a loop in a shell makes them."""
    found = []
    for timed in steps:
        stamp = f"{timed.minute // 60:02}{timed.minute % 60:02}00"
        run = fakes.run(made(timed), metrics=(*LATENCY, "host_peak_bytes"))
        found.append(msgspec.structs.replace(run, id=f"20260701T{stamp}Z", machine=machine, **changes))
    return found


def in_turns(a: Sequence[float], b: Sequence[float], unit: int = 1) -> tuple[list[Timed], list[Timed]]:
    """A B, B A, A B, ...: who goes first alternates."""
    one = [Timed(step, 2 * n * unit + (n % 2) * unit) for n, step in enumerate(a)]
    other = [Timed(step, 2 * n * unit + (1 - n % 2) * unit) for n, step in enumerate(b)]
    return one, other


def store(folder: Path, found: Sequence[Run]) -> Path:
    for run in found:
        files.write_json(run_files.run_path(folder, run), run)
    return folder


def rows(done: Outcome) -> list[dict[str, Any]]:
    found = json.loads(done.out)
    assert isinstance(found, list)
    return found


def two_folders(tmp_path: Path, a: Sequence[Run], b: Sequence[Run]) -> tuple[str, str]:
    return str(store(tmp_path / "a", a)), str(store(tmp_path / "b", b))


SWING = [1.0, 1.5, 0.9, 1.2, 1.4, 0.8, 1.1, 1.3]


@pytest.mark.parametrize(
    ("ratio", "says", "code"),
    [
        (1.12, "slower 11% (", 4),
        (1.03, "slower 2.9% (", 0),  # below the 5 % that were asked for
        (0.9, "faster 11% (", 0),
        (1.0, "no difference seen (could be up to ", 0),
    ],
)
def test_pairs_see_what_a_swing_of_the_machine_hides(
    phibench: Phibench, tmp_path: Path, ratio: float, says: str, code: int
) -> None:
    a, b = in_turns([0.1 * s * w for s, w in zip(SWING, WOBBLE, strict=True)],
                    [0.1 * s * ratio * w for s, w in zip(SWING, reversed(WOBBLE), strict=True)])  # fmt: skip
    sides = two_folders(tmp_path, runs(a), runs(b))
    done = phibench("compare", *sides, "--fail-on-regression", "5%")
    assert done.code == code, done.err
    assert f" {says}" in done.out
    assert "8 pairs" in done.out
    (row,) = rows(phibench("compare", *sides, "-o", "json"))
    assert row["change_low"] <= row["change"] <= row["change_high"]
    assert row["change"] == pytest.approx(1 / ratio - 1, abs=0.004)
    assert row["metric"] == "decode_tps"


def test_blocks_are_not_turns_and_give_no_verdict(phibench: Phibench, tmp_path: Path) -> None:
    a = [Timed(0.1, minute) for minute in range(8)]
    b = [Timed(0.2, minute + 100) for minute in range(8)]
    sides = two_folders(tmp_path, runs(a), runs(b))
    done = phibench("compare", *sides)
    assert done.code == 0
    assert "not taken in turns: no verdict (-50%)" in done.out
    assert "a verdict takes 8 pairs: measure A B, then B A" in done.out
    assert phibench("compare", *sides, "--fail-on-regression", "5%").code == 1  # unknown is not fine


def test_two_single_runs_say_what_they_lack(phibench: Phibench, tmp_path: Path) -> None:
    sides = two_folders(tmp_path, runs([Timed(0.1, 0)]), runs([Timed(0.1, 1)]))
    (row,) = rows(phibench("compare", *sides, "-o", "json"))
    assert (row["pairs"], row["verdict"], row["change_low"]) == (1, "unknown", None)
    assert row["says"] == "not taken in turns: no verdict (+0.00%)"


def test_few_turns_are_counted(phibench: Phibench, tmp_path: Path) -> None:
    a, b = in_turns([0.1] * 5, [0.2] * 5)
    assert "5 of 8 pairs: no verdict (-50%)" in phibench("compare", *two_folders(tmp_path, runs(a), runs(b))).out


def test_the_same_side_first_in_every_pair_is_said(phibench: Phibench, tmp_path: Path) -> None:
    a, b = [Timed(0.1, 2 * n) for n in range(8)], [Timed(0.11, 2 * n + 1) for n in range(8)]
    said = "the same side went first in every pair"
    assert said in phibench("compare", *two_folders(tmp_path, runs(a), runs(b))).out
    turned = in_turns([0.1] * 8, [0.11] * 8)
    assert said not in phibench("compare", *two_folders(tmp_path / "turned", *map(runs, turned))).out


@given(st.lists(st.booleans(), min_size=1, max_size=24))
def test_pairs_are_neighbours_each_used_once(whose: list[bool]) -> None:
    run = fakes.run()
    seen = [pairing.Seen((f"{n:03}", "", 0), 1.0 + n, run) for n in range(len(whose))]
    a, b = ([one for one, mine in zip(seen, whose, strict=True) if mine is side] for side in (True, False))
    pairs = pairing.pair_up(a, b)
    used = [one for pair in pairs for one in pair]
    assert len({one.when for one in used}) == len(used)
    places = sorted((seen.index(one), seen.index(other)) for one, other in pairs)
    assert all(one in a and other in b and abs(seen.index(one) - seen.index(other)) == 1 for one, other in pairs)
    free = [n for n in range(len(whose)) if n not in {place for pair in places for place in pair}]
    assert all(whose[one] == whose[other] for one, other in itertools.pairwise(free) if other == one + 1)


def test_on_different_machines_launch_n_is_paired_with_launch_n(phibench: Phibench, tmp_path: Path) -> None:
    store(tmp_path / "results", runs([Timed(0.1 * w, n) for n, w in enumerate(WOBBLE)]))
    store(tmp_path / "results", runs([Timed(0.05 * w, 500 + n) for n, w in enumerate(WOBBLE)], OTHER))
    done = phibench("compare", HERE.slug, OTHER.slug)
    assert "faster 100% (" in done.out, done.err
    assert "on different machines the n-th launches are paired" in done.out


def test_versions_are_compared_by_what_runs_say(phibench: Phibench, tmp_path: Path) -> None:
    old, new = ({"phibench": "0.1.0", "llama_cpp_python": version} for version in ("0.3.36", "0.3.37"))
    a, b = in_turns([0.1] * 8, [0.08] * 8)
    store(tmp_path / "results", [*runs(a, software=old), *runs(b, software=new)])
    done = phibench("compare", "llama-cpp-python==0.3.36", "llama_cpp_python==0.3.37")
    assert "faster 25% (25..25%)" in done.out, done.err
    assert "software differs: llama_cpp_python 0.3.36 / 0.3.37" in done.out


def test_two_setups_are_paired_where_the_software_is_one(phibench: Phibench, tmp_path: Path) -> None:
    def of_torch(found: Sequence[Run], **changes: Any) -> list[Run]:
        return [
            msgspec.structs.replace(run, results=(msgspec.structs.replace(run.results[0], setup=TORCH),), **changes)
            for run in found
        ]

    a, b = map(runs, in_turns([0.1] * 8, [0.11] * 8))
    asked = ("compare", "phi-4-mini:q4_k_m@llama_cpp", "phi-4-mini:bf16@torch/cpu", "-o", "json", "--results")
    store(tmp_path / "one", [*a, *of_torch(b)])
    (row,) = rows(phibench(*asked, str(tmp_path / "one")))
    assert (row["setup"], row["pairs"], row["verdict"]) == (None, 8, "worse")
    store(tmp_path / "two", [*a, *of_torch(b, software={"phibench": "9"})])
    assert [row["pairs"] for row in rows(phibench(*asked, str(tmp_path / "two")))] == [0]


def test_the_setups_of_one_run_are_paired_as_they_took_turns(phibench: Phibench, tmp_path: Path) -> None:
    results = [
        made(Timed(step, 0), launch, setup)
        for launch in range(8)
        for setup, step in (((SETUP, 0.1), (TORCH, 0.11)) if launch % 2 else ((TORCH, 0.11), (SETUP, 0.1)))
    ]
    store(tmp_path / "results", [fakes.run(*results)])
    done = phibench("compare", str(SETUP), str(TORCH))
    assert "slower 9.1% (9.1..9.1%)" in done.out, done.err
    assert "went first" not in done.out


def test_the_first_token_is_compared_where_no_rate_of_prefill_is(phibench: Phibench, tmp_path: Path) -> None:
    for metrics in (("prefill_tps", "ttft_s"), ("ttft_s",)):
        sides = [fakes.run(measured(workload(16, 0)), metrics=metrics, started=f"2026-07-0{n}") for n in (1, 2)]
        done = phibench("compare", *two_folders(tmp_path / metrics[0], sides[:1], sides[1:]), "-o", "json")
        assert [row["metric"] for row in rows(done)] == [metrics[0]]


def test_memory_is_worse_when_there_is_more_of_it_and_said_once_for_a_worker(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peaks(found: Sequence[Run], gib: float) -> list[Run]:
        def with_peak(run: Run) -> Run:
            (result,) = run.results
            assert isinstance(result, Measured)
            both = [result, msgspec.structs.replace(result, workload=workload(16, 0))]
            peak = {"host_peak_bytes": gib * 2**30}
            return msgspec.structs.replace(
                run, results=tuple(msgspec.structs.replace(one, readings=peak) for one in both)
            )

        return [with_peak(run) for run in found]

    a, b = in_turns([0.1] * 8, [0.1] * 8)
    sides = two_folders(tmp_path, peaks(runs(a), 2.0), peaks(runs(b), 2.2))
    done = phibench("compare", *sides, "--fail-on-regression", "0.05")
    assert done.code == 4
    assert done.out.count("Peak memory") == 1
    assert "larger 10% (10..10%)" in done.out
    tiny = two_folders(tmp_path / "tiny", peaks(runs(a), 2.0), peaks(runs(b), 2.01))
    monkeypatch.setenv("COLUMNS", "120")  # a narrow terminal gets shorter words
    assert "no difference seen (could be up to 0.50%)" in phibench("compare", *tiny).out
    monkeypatch.setenv("COLUMNS", "66")
    assert "no difference seen (up to" in phibench("compare", *tiny).out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"example": True}, "left out, one is an example: tg4"),
        ({"imported": "llama-bench b1", "weights": "real"}, "left out, real and synthetic weights are never compared"),
        ({"imported": "llama-bench b1", "example": True}, "left out, one is an example: tg4"),
        ({"imported": "llama-bench b1", "suite": {"short": True}}, "left out, one is a short run: tg4"),
        ({"imported": "llama-bench b1", "layers": 4}, "left out, it has different layers: tg4"),
        ({"suite": {"short": True}}, "left out, one is a short run: tg4"),
        ({"suite": {"name": "quick"}}, "left out, it is from another suite: tg4"),
        ({"suite": {"repetitions": 1}}, "left out, it was measured another way (repetitions, warm-up, ...): tg4"),
        ({"weights": "real"}, "left out, real and synthetic weights are never compared: tg4"),
        ({"layers": 4}, "left out, it has different layers: tg4"),
    ],
)
def test_only_like_is_compared_with_like(phibench: Phibench, tmp_path: Path, change: Any, says: str) -> None:
    def changed(run: Run) -> Run:
        (result,) = run.results
        assert isinstance(result, Measured)
        artifact = msgspec.structs.replace(
            result.artifact, **{k: change[k] for k in ("weights", "layers") if k in change}
        )
        run = msgspec.structs.replace(run, results=(msgspec.structs.replace(result, artifact=artifact),))
        run = msgspec.structs.replace(run, suite=msgspec.structs.replace(run.suite, **change.get("suite", {})))
        return msgspec.structs.replace(run, **{k: change[k] for k in ("example", "imported") if k in change})

    a, b = map(runs, in_turns([0.1] * 8, [0.2] * 8))
    done = phibench("compare", *two_folders(tmp_path, a, [changed(run) for run in b]))
    assert done.code == 1
    assert "have no figure in common" in done.err
    assert says in done.err
    mixed = phibench("compare", *two_folders(tmp_path / "mixed", a, [*b[:4], *(changed(run) for run in b[4:])]))
    assert mixed.code == 0
    assert says in " ".join(mixed.out.split())


def imported(found: Sequence[Run]) -> list[Run]:
    """As an import writes them: another suite, another protocol, and only prefill and decode."""
    suite = msgspec.structs.replace(found[0].suite, name="llama-bench", metrics=("prefill_tps", "ttft_s", "decode_tps"),
                                    repetitions=3)  # fmt: skip
    return [msgspec.structs.replace(run, suite=suite, imported="llama-bench b1") for run in found]


@pytest.mark.parametrize("turned", [False, True])
def test_an_imported_figure_is_compared_and_never_judged(phibench: Phibench, tmp_path: Path, turned: bool) -> None:
    """Eight runs each, in turns: of phibench's own that is a verdict."""
    a, b = map(runs, in_turns([0.1] * 8, [0.2] * 8))
    folders = two_folders(tmp_path, imported(a), b)
    done = phibench("compare", *(reversed(folders) if turned else folders), "-o", "json")
    (row,) = rows(done)
    assert (row["says"], row["verdict"]) == (f"imported: no verdict ({'+100' if turned else '-50'}%)", "unknown")
    assert row["suite"] == ("latency / llama-bench" if turned else "llama-bench / latency")
    assert "left out" not in done.err
    assert "may be noise" in done.err
    assert "a verdict takes" not in done.err  # more turns would not help
    assert phibench("compare", *folders, "--fail-on-regression", "5%").code == 1


def test_two_imports_are_compared_whatever_their_repetitions(phibench: Phibench, tmp_path: Path) -> None:
    a, b = (imported(runs(side)) for side in in_turns([0.1] * 8, [0.2] * 8))
    b = [msgspec.structs.replace(run, suite=msgspec.structs.replace(run.suite, repetitions=9)) for run in b]
    for side in (a, b):
        (row,) = rows(phibench("compare", *two_folders(tmp_path / side[0].id, side, imported(runs([Timed(0.1, 900)]))),
                               "-o", "json"))  # fmt: skip
        assert row["says"].startswith("imported: no verdict (")


def test_an_imported_figure_stands_back_where_both_sides_measured_their_own(phibench: Phibench, tmp_path: Path) -> None:
    a, b = map(runs, in_turns([0.1] * 8, [0.2] * 8))
    old = imported(runs([Timed(0.4, 900)]))
    done = phibench("compare", *two_folders(tmp_path, [*a, *old], b), "-o", "json")
    (row,) = rows(done)
    assert (row["verdict"], row["pairs"], row["suite"]) == ("worse", 8, "latency")
    assert f"left out, one is imported: tg4 of {SETUP}\n" in done.err


def test_old_numbers_of_llama_bench_are_compared_with_a_run(phibench: Phibench, tmp_path: Path) -> None:
    """From the file to the ratio: what the issue of an import is."""
    base = {"cpu_info": "AMD EPYC 9B14", "backends": "CPU", "model_filename": "phi-4-mini.gguf", "n_threads": 2,
            "model_type": "phi3 3B Q4_K - Medium", "model_n_params": 3_836_021_856, "n_batch": 2048, "n_ubatch": 512,
            "type_k": "f16", "type_v": "f16", "n_gpu_layers": -1, "flash_attn": -1}  # fmt: skip
    old = [base | {"n_prompt": 512, "n_gen": 0, "avg_ns": 8e9}, base | {"n_prompt": 0, "n_gen": 4, "avg_ns": 1e9}]
    (tmp_path / "old.json").write_text(json.dumps(old), encoding="utf-8")
    files.write_json(tmp_path / "here.json", HERE)
    assert phibench("import", str(tmp_path / "old.json"), "--machine", str(tmp_path / "here.json")).code == 0
    (path,) = (tmp_path / "results").rglob("*.json")
    artifact = Artifact(path="phi-4-mini.gguf", bytes=2_485_601_728, weights="real")
    tests = [
        msgspec.structs.replace(test, artifact=artifact) for test in (measured(workload(512, 0)), made(Timed(0.5, 0)))
    ]
    store(tmp_path / "new", [msgspec.structs.replace(fakes.run(*tests), machine=HERE)])
    found = {row["metric"]: row for row in rows(phibench("compare", str(path), str(tmp_path / "new"), "-o", "json"))}
    assert (found["prefill_tps"]["a"], found["decode_tps"]["a"]) == (pytest.approx(64.0), pytest.approx(4.0))
    assert found["decode_tps"]["says"] == "imported: no verdict (-50%)"
    assert set(found) == {"prefill_tps", "decode_tps"}  # TTFT says the same as prefill


def remade(found: Sequence[Run], artifact: dict[str, Any] | None = None, **changes: Any) -> list[Run]:
    """The runs with another artifact, and with other fields of each result."""
    made = []
    for run in found:
        (result,) = run.results
        assert isinstance(result, Measured)
        changed = msgspec.structs.replace(result.artifact, **(artifact or {}))
        made.append(
            msgspec.structs.replace(run, results=(msgspec.structs.replace(result, artifact=changed, **changes),))
        )
    return made


def test_two_real_files_of_one_quantization_are_not_alike(phibench: Phibench, tmp_path: Path) -> None:
    a, b = map(runs, in_turns([0.1] * 8, [0.2] * 8))
    real = {"weights": "real", "bytes": 100}
    done = phibench("compare", *two_folders(tmp_path, remade(a, real), remade(b, {**real, "bytes": 101})))
    assert done.code == 1
    assert "left out, it is a different file: of another size" in done.err
    same = phibench("compare", *two_folders(tmp_path / "same", remade(a, real), remade(b, real)))
    assert same.code == 0


def test_other_threads_are_said(phibench: Phibench, tmp_path: Path) -> None:
    a, b = map(runs, in_turns([0.1] * 8, [0.2] * 8))
    assert "threads differ: 2 / 1" in phibench("compare", *two_folders(tmp_path, a, remade(b, threads=1))).out
    assert "threads differ" not in phibench("compare", *two_folders(tmp_path / "same", a, b)).out


def test_what_one_side_lacks_and_what_is_doubtful_is_said(phibench: Phibench, tmp_path: Path) -> None:
    a, b = map(runs, in_turns([0.1] * 8, [0.1] * 8))
    longer = fakes.run(measured(workload(512, 0)), started="2026-08-01")
    hot = msgspec.structs.replace(a[0], warnings=("ran on battery", "it was hot"))
    done = phibench("compare", *two_folders(tmp_path, [hot, *a[1:], longer], b), "-o", "json")
    assert f"left out, only {tmp_path / 'a'} has it: pp512 of {SETUP}\n" in done.err
    assert f"doubtful: 1 of 8 runs of {tmp_path / 'a'}: ran on battery, and 1 more\n" in done.err


def test_a_run_goes_by_file_by_id_and_by_the_start_of_its_id(phibench: Phibench, tmp_path: Path) -> None:
    first, second = runs([Timed(0.1, 0), Timed(0.2, 61)])
    store(tmp_path / "results", [first, second])
    for one in (first.id, "20260701T00", str(run_files.run_path(tmp_path / "results", first))):
        (row,) = rows(phibench("compare", one, "20260701T0101", "-o", "json"))
        assert row["change"] == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("20260701T010000Z", "20260701T000000Z"), "did you mean '20260701T010100Z'?"),
        (("20260701", "20260701T000000Z"), "'20260701' may be 2 runs"),
        (("", "20260701T000000Z"), "unknown run ''"),
        (("20260701T000000Z", "20260701T000000Z"), "have run 20260701T000000Z in common"),
        (("phibench==9", "phibench==0.1.0"), "did you mean 'phibench==0.1.0'? measured with: phibench==0.1.0"),
        (("numpie==9", "phibench==0.1.0"), "PACKAGE==VERSION"),
        (("phi-4-mini:Q4_K_M@llama_cpp", "20260701T000000Z"), "is a setup and '20260701T000000Z' is not"),
        (("phi-4-mini:Q4_K_M@llama_cpp", "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu"), "are the same setup"),
        (("phi-4-mini:Q5_K_M@llama_cpp", "phi-4-mini:Q4_K_M@llama_cpp"), "unknown setup"),
        (("20260701T000000Z", "20260701T010100Z", "--fail-on-regression", "5"), "takes a share such as 5% or 0.05"),
        (("20260701T000000Z", "20260701T010100Z", "--fail-on-regression", "-1%"), "takes a share such as 5%"),
    ],
)
def test_what_is_not_known_is_one_line(phibench: Phibench, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    store(tmp_path / "results", runs([Timed(0.1, 0), Timed(0.2, 61)]))
    done = phibench("compare", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0), (" 7.5 % ", 0.075)])
def test_a_share_is_a_percentage_or_a_number(text: str, value: float) -> None:
    assert comparison.share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "100%", "nan", "five", "5%%", "1e-2", "-0.1"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(PhibenchError, match="takes a share"):
        comparison.share(text)


def test_the_forms_can_be_read_by_programs(phibench: Phibench, tmp_path: Path) -> None:
    a, b = map(runs, in_turns([0.1] * 8, [0.11] * 8))
    sides = two_folders(tmp_path, a, b)
    (row,) = rows(phibench("compare", *sides, "-o", "json"))
    assert json.loads(phibench("compare", *sides, "-o", "jsonl").out) == row
    (told,) = csv.DictReader(io.StringIO(phibench("compare", *sides, "-o", "csv").out))
    assert float(told["change"]) == pytest.approx(row["change"])
    base = sqlite3.connect(":memory:")
    base.executescript(phibench("compare", *sides, "-o", "sql").out)
    assert base.execute("SELECT verdict, pairs FROM phibench_compare").fetchall() == [("worse", 8)]
    assert phibench("compare", *sides, "-o", "md").out.startswith("| test")


def test_one_bad_launch_is_no_regression() -> None:
    """All eight pairs are 1 % worse, one of them by far: worse it is, but the median says by how much."""
    pairs = [(1.0, 0.99 * w) for w in WOBBLE[:7]] + [(1.0, 0.4)]
    row = comparison._judged("decode_tps", pairs, 1.0)
    assert row["verdict"] == "worse"
    assert comparison.exit_code([row], 0.05) == 0
    assert comparison.exit_code([row], 0.005) == 4


def test_a_thing_compared_with_itself_is_rarely_called_different() -> None:
    rng = random.Random(7)
    alarms = 0
    for _ in range(400):
        drift = [1 + 0.3 * rng.random() for _ in range(8)]
        pairs = [(d * rng.lognormvariate(0, 0.05), d * rng.lognormvariate(0, 0.05)) for d in drift]
        alarms += comparison._judged("decode_tps", pairs, 1.0)["verdict"] != "same"
    assert alarms <= 16  # 2 % are 8
