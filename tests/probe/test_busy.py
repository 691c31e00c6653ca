"""What keeps the machine busy is seen by name, and nothing but names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from phibench.probe import busy, conditions
from phibench.probe.busy import Busy

SECRET = "--token=not-for-others"


@pytest.fixture
def hog() -> Iterator[subprocess.Popen[bytes]]:
    """A program that takes a whole cpu, with something private on its command line."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass", SECRET]) as process:
        yield process
        process.kill()


def test_a_program_is_named_and_its_command_line_is_not(
    hog: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "LOOK_S", 5.0)
    found = busy.look(0.3)
    assert found.share is not None
    assert found.share > 0.1
    assert found.programs[0].cpus > 0.1
    assert any(one.name.startswith("python") for one in found.programs)
    assert SECRET not in str(found)
    assert str(hog.pid) not in str([one.name for one in found.programs])


def test_no_look_knows_nothing() -> None:
    assert busy.look() == Busy()  # the tests' own machine is not watched
    assert busy.look().quiet is None


@pytest.mark.parametrize(
    ("seen", "quiet"),
    [
        (Busy(look_s=1.0, share=0.05), True),
        (Busy(look_s=1.0, share=0.15), False),
        (Busy(look_s=0.3, share=0.15), True),  # a few ticks of a waking daemon
        (Busy(look_s=0.3, share=0.5), False),
        (Busy(look_s=1.0, share=0.02, steal_share=0.1), False),
    ],
)
def test_when_a_machine_is_quiet(seen: Busy, quiet: bool) -> None:
    assert seen.quiet is quiet
