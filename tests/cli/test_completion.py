"""Completion on the tab key, as docs/install.md has it: click's own, through this program's front door."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def phibench(**env: str) -> str:
    """What the program prints for a shell that asks it."""
    start = "import sys; sys.argv = ['phibench']; from phibench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", start], env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("click asks bash for its version")
    assert "_phibench_completion" in phibench(_PHIBENCH_COMPLETE=f"{shell}_source")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("phibench rec", {"recommend"}), ("phibench recommend --go", {"--goal"}), ("phibench doctor -o ", {"md", "json"})],
)
def test_commands_options_and_values_are_completed(typed: str, offered: set[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1)}
    lines = phibench(_PHIBENCH_COMPLETE="bash_complete", **words).splitlines()
    assert {line.partition(",")[2] for line in lines} == offered
