"""A busy machine: quickstart waits for a stated time, names what keeps it busy, and says where nothing can be said."""

from __future__ import annotations

import time
from pathlib import Path

import fakes
import msgspec
import pytest
from conftest import Phibench

from phibench import catalog
from phibench.advise import recommend
from phibench.cli import quickstart, waiting
from phibench.core import files, units
from phibench.core.errors import BAD_INPUT, TOO_BUSY, PhibenchError
from phibench.core.nouns import Machine, Verdict
from phibench.machine import inventory
from phibench.probe import busy
from phibench.probe.busy import Busy, Program

LOUD = Busy(look_s=1.0, cpus=2, share=0.7, programs=(Program(name="cc1plus", cpus=1.2),))
CALM = Busy(look_s=1.0, cpus=2, share=0.01)


def looks(monkeypatch: pytest.MonkeyPatch, *answers: Busy) -> list[Busy]:
    """Each look takes no time and gives the next answer, the last one for ever."""
    left = list(answers)
    monkeypatch.setattr(busy, "look", lambda *_: left.pop(0) if len(left) > 1 else left[0])
    return left


def test_a_quiet_machine_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, CALM)
    told: list[str] = []
    assert waiting.until_quiet(30, told.append) == CALM
    looks(monkeypatch, Busy())  # nobody tells
    assert waiting.until_quiet(30, told.append) == Busy()
    assert told == []


def test_it_waits_until_it_is_quiet_and_says_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    left = looks(monkeypatch, LOUD, LOUD, LOUD, CALM)
    told: list[str] = []
    assert waiting.until_quiet(30, told.append) == CALM
    assert left == [CALM]
    assert told == [
        "This machine is busy: cc1plus (1.2 cpus). Waiting up to 30 s until it is quiet ...",
        "It is quiet.",
    ]


def test_it_goes_on_after_the_stated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def look(seconds: float = 0.3) -> Busy:
        now[0] += seconds
        return LOUD

    monkeypatch.setattr(busy, "look", look)
    told: list[str] = []
    assert waiting.until_quiet(7, told.append) == LOUD
    assert 7 <= now[0] < 8.5
    assert told[-1] == "Busy: cc1plus (1.2 cpus). What is measured now is doubtful; close that first."
    now[0] = 0.0
    waiting.until_quiet(0, told.append)  # --wait 0
    assert now[0] < 1
    assert len(told) == 3


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2min", 120), ("2m", 120), ("1.5", 1.5), ("0", 0), ("1h", 3600)]
)
def test_times_as_they_are_typed(text: str, seconds: float) -> None:
    assert units.seconds(text, "--wait") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1e9", "nan", "3 parsecs"])
def test_what_is_no_time(text: str, phibench: Phibench) -> None:
    with pytest.raises(PhibenchError, match="--wait"):
        units.seconds(text, "--wait")
    done = phibench("quickstart", f"--wait={text}")
    assert done.code == BAD_INPUT
    assert "is not a time; write 30s or 2min" in done.err


# ------------------------------------------------------------------------------------------------ exit code 5

WHY = "too low: its threads had a core only 41% of the time"


def slow(doubt: str = WHY) -> Machine:
    """Too slow for a chat, as it seems, and enough memory."""
    plain = fakes.machine()
    cpu = msgspec.structs.replace(
        plain.devices[0], read_bytes_s=3e9, basis="probed", matrix_flops_s={"float32": 3e10}, doubt=doubt,
        matrix_doubt=doubt, most_read_bytes_s=8e9 if doubt else None,
        most_matrix_flops_s={"float32": 9e10} if doubt else {},
    )  # fmt: skip
    return msgspec.structs.replace(plain, devices=(cpu,))


@pytest.mark.parametrize("output", ["table", "json"])
def test_where_nothing_can_be_said_it_says_so(monkeypatch: pytest.MonkeyPatch, phibench: Phibench, output: str) -> None:
    monkeypatch.setattr(inventory, "this_machine", lambda **_: slow())
    looks(monkeypatch, LOUD)
    done = phibench("recommend", "-o", output)
    assert done.code == TOO_BUSY
    assert done.out  # all the same
    said = " ".join(done.err.split())
    assert said.startswith("nothing can be said: no Phi fits for sure")
    for told in ("3 GB/s to 8 GB/s, too low", "cc1plus (1.2 cpus); close that", "type: phibench recommend"):
        assert told in said


def test_what_is_not_doubted_is_a_no(monkeypatch: pytest.MonkeyPatch, phibench: Phibench) -> None:
    monkeypatch.setattr(inventory, "this_machine", lambda **_: slow(""))
    looks(monkeypatch, LOUD)
    done = phibench("recommend", "--goal", "chat")
    assert done.code != TOO_BUSY
    assert "nothing can be said" not in done.err


def test_a_described_machine_is_never_too_busy(phibench: Phibench, tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    files.write_machine(path, slow())
    done = phibench("recommend", "--machine", str(path))
    assert done.code == 0
    assert "(doubtful)" in done.out
    assert done.err == ""


def test_the_first_advice_of_quickstart_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch, phibench: Phibench) -> None:
    monkeypatch.setattr(inventory, "this_machine", lambda **_: slow())
    looks(monkeypatch, LOUD, LOUD, CALM)
    done = phibench("quickstart", "--before")
    assert done.code == 0
    assert done.out.index("This machine is busy: cc1plus") < done.out.index("It is quiet.") < done.out.index("fits")
    assert "doubtful: read bandwidth 3 GB/s to 8 GB/s" in done.out


def test_quickstart_leaves_with_5_where_nothing_can_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    goal = catalog.goal("chat")

    def advise(machine: Machine) -> tuple[Verdict, ...]:
        return recommend.advise(machine, goal, ())

    assert quickstart._outcome(slow(), advise(slow()), advise, LOUD) == TOO_BUSY
    assert "type: phibench quickstart" in " ".join(capsys.readouterr().err.split())
    assert quickstart._outcome(slow(""), advise(slow("")), advise, LOUD) != TOO_BUSY
