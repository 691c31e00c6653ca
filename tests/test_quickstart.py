"""The newcomer's command: what it chooses to measure, and the whole of it on a tiny machine."""

from __future__ import annotations

import pytest
from test_run import machine

from phibench import files, quickstart, request, run
from phibench.errors import NOTHING_FITS, PhibenchError

GIB = 1 << 30


def test_phi_4_mini_is_measured_where_it_fits() -> None:
    task, note = quickstart.choose(request.load_suite("quick"), machine(free_bytes=8 * GIB))
    assert task.setup == quickstart.WANTED
    assert note == ""


@pytest.mark.parametrize("free_gib", [2.8, 2.0, 1.0])
def test_with_less_memory_the_largest_that_fits_is_taken_and_said(free_gib: float) -> None:
    suite = request.load_suite("quick")
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
        assert run.prepare((setup,), suite, small)[0].objection is not None


def test_nothing_fits_is_exit_3() -> None:
    with pytest.raises(PhibenchError, match="no smaller Phi fits either") as raised:
        quickstart.choose(request.load_suite("quick"), machine(free_bytes=GIB // 4))
    assert raised.value.exit_code == NOTHING_FITS


def test_a_small_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    free = quickstart.DISK_RESERVE_BYTES + 1_500_000_000
    monkeypatch.setattr(quickstart, "free_disk_bytes", lambda _folder: free)
    task, note = quickstart.choose(request.load_suite("quick"), machine())
    assert "needs 2.49 GB of disk" in note
    assert "1.5 GB are free" in note
    assert task.write_bytes <= 1_500_000_000
    assert str(files.cache_dir()) in note


def test_the_next_commands_are_three_that_exist() -> None:
    from phibench.cli import cli

    lines = quickstart.next_commands(quickstart.WANTED).splitlines()
    assert len(lines) == 3
    assert all(line.split()[:1] == ["phibench"] and line.split()[1] in cli.commands for line in lines)
