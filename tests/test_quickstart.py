"""The newcomer's command: what it chooses to measure, and the whole of it on a tiny machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from test_run import machine

from phibench import quickstart, request, run, stats, suites
from phibench.errors import NOTHING_FITS, PhibenchError
from phibench.synth import cache

GIB = 1 << 30


def test_phi_4_mini_is_measured_where_it_fits() -> None:
    task, note = quickstart.choose(suites.load("quick"), machine(free_bytes=8 * GIB))
    assert task.setup == quickstart.WANTED
    assert note == ""


@pytest.mark.parametrize("free_gib", [2.4, 2.0, 1.0])
def test_with_less_memory_the_largest_that_fits_is_taken_and_said(free_gib: float) -> None:
    suite = suites.load("quick")
    small = machine(free_bytes=int(free_gib * GIB))
    task, note = quickstart.choose(suite, small)
    assert task.objection is None
    assert task.need.total_bytes <= small.limits.free_bytes
    assert f"may use {free_gib:g} GiB" in note
    assert str(task.setup) in note
    assert task.plan is not None
    wanted = run.prepare((quickstart.WANTED,), suite, small)[0].plan
    assert wanted is not None
    for setup in quickstart.smaller_setups(wanted.weights_bytes):  # everything between is too big
        if setup == task.setup:
            break
        between = run.prepare((setup,), suite, small)[0]
        assert between.objection or between.refused


def test_nothing_fits_is_exit_3() -> None:
    with pytest.raises(PhibenchError, match="no smaller Phi fits either") as raised:
        quickstart.choose(suites.load("quick"), machine(free_bytes=GIB // 4))
    assert raised.value.exit_code == NOTHING_FITS


def test_a_small_disk_is_named_and_the_cache_takes_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4_500_000_000))
    task, note = quickstart.choose(suites.load("quick"), machine())
    assert f"needs 2.49 GB of disk in {cache.folder()}, where 2.25 GB can be had" in note  # half of the disk
    assert 1_500_000_000 < task.write_bytes <= 2_250_000_000
    cache.make_room(task.write_bytes)


def test_a_limit_of_the_cache_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000_000_000))
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "2GB")
    task, note = quickstart.choose(suites.load("quick"), machine())
    assert "where 2 GB can be had" in note
    cache.make_room(task.write_bytes)


def test_old_files_of_the_cache_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=500_000_000))
    cache.folder().mkdir(parents=True)
    with (cache.folder() / "old.gguf").open("wb") as stream:
        stream.truncate(9_000_000_000)  # sparse
    task, note = quickstart.choose(suites.load("quick"), machine())
    assert task.setup == quickstart.WANTED
    assert note == ""


def test_backends_are_compared_on_the_same_phi_in_turns() -> None:
    suite = suites.load("quick")
    tasks, changed, notes = quickstart.compare(suite, machine(free_bytes=16 * GIB), "llama_cpp,torch")
    assert [str(task.setup) for task in tasks] == [
        "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu", "phi-4-mini-instruct:bf16@torch/cpu",
    ]  # fmt: skip
    assert (changed.launches, changed.repetitions) == (stats.MIN_PAIRS, 1)
    assert {task.suite for task in tasks} == {changed}
    assert notes == []


def test_a_backend_that_does_not_fit_is_left_out_and_said() -> None:
    suite = suites.load("quick")
    tasks, changed, (note,) = quickstart.compare(suite, machine(free_bytes=6 * GIB), "llama_cpp,torch")
    assert [task.setup.backend for task in tasks] == ["llama_cpp"]
    assert changed == suite  # alone there is nobody to take turns with
    assert "phi-4-mini-instruct:bf16@torch/cpu is left out: needs" in note
    with pytest.raises(PhibenchError, match="left out") as raised:
        quickstart.compare(suite, machine(free_bytes=GIB), "llama_cpp,torch")
    assert raised.value.exit_code == NOTHING_FITS


def test_a_backend_that_runs_no_phi_is_refused_before_anything_starts() -> None:
    with pytest.raises(PhibenchError, match="null runs no Phi"):
        quickstart.compare(suites.load("quick"), machine(), "llama_cpp, null")


def test_a_dry_run_of_what_does_not_fit_tells_why_and_no_time() -> None:
    suite, small = suites.load("latency"), machine(free_bytes=GIB)
    tasks = run.prepare((quickstart.WANTED,), suite, small)
    (row,) = request.dry_rows(tasks, small, [])
    assert (row["fits"], row["time_low_s"]) == (False, None)
    assert "may use 1 GiB" in row["reason"]


def test_the_next_commands_are_three_that_exist() -> None:
    from phibench.cli import cli

    lines = quickstart.next_commands(quickstart.WANTED).splitlines()
    assert len(lines) == 3
    assert all(line.split()[:1] == ["phibench"] and line.split()[1] in cli.commands for line in lines)
