"""The program: what it imports before it knows its command, and the line for a wrong one."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import Phibench

from phibench.cli import cli


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_click_and_the_errors_alone(flag: str) -> None:
    code = (
        "import sys\n"
        "from phibench.cli import main\n"
        f"sys.argv = ['phibench', {flag!r}]\n"
        "main()\n"
        "print('LOADED', *sorted(n for n in sys.modules if n.startswith('phibench.')))\n"
        "print('HEAVY', *sorted({'msgspec', 'numpy', 'psutil', 'rich', 'llama_cpp', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    *_, loaded, heavy = done.stdout.splitlines()
    assert heavy == "HEAVY"
    rooms = [name for name in loaded.split()[1:] if not name.startswith("phibench.cli")]
    assert rooms == ["phibench.core", "phibench.core.errors"]


def test_a_command_that_is_like_no_other_is_told_them_all(phibench: Phibench) -> None:
    done = phibench("fffff")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("phibench: unknown command 'fffff'; there are: quickstart, probe, ")
    assert set(done.err.rstrip().rpartition(": ")[2].split(", ")) == set(cli.commands)
