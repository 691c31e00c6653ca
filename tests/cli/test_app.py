"""The program: what it imports before it knows its command, and the line for a wrong one."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import click
import pytest
from conftest import Phibench

from phibench.cli import cli, options

LAPTOP = Path(__file__).parents[2] / "docs" / "machines" / "laptop.toml"


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


def test_every_option_of_run_is_in_one_group() -> None:
    run = cli.commands["run"]
    assert isinstance(run, options.Grouped)
    grouped = list(chain.from_iterable(run.groups.values()))
    assert sorted(grouped) == sorted(param.name or "" for param in run.params if isinstance(param, click.Option))


@pytest.mark.parametrize("columns", [80, 120])
def test_the_help_of_run_has_every_option_once_with_its_text_in_one_column(
    phibench: Phibench, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = phibench("run", "--help").out.splitlines()
    assert [line for line in lines if line[:1].isupper() and line.endswith(":")] == [
        "What to run:",
        "On what:",
        "How:",
        "Output:",
        "More:",
    ]
    assert max(map(len, lines)) <= min(columns, 100)
    run = cli.commands["run"]
    shown = [line.strip().partition("  ")[0] for line in lines if line.startswith("  -")]
    assert len(shown) == len(run.params)  # SUITE is no option, --help is no parameter of ours
    below = [line for line in lines[lines.index("What to run:") :] if line.startswith("   ")]
    assert {len(line) - len(line.lstrip()) for line in below} == {34}


def test_a_card_of_a_machine_file_needs_its_name_or_its_memory(phibench: Phibench, tmp_path: Path) -> None:
    laptop = (LAPTOP).read_text()
    bare = "".join(line for line in laptop.splitlines(keepends=True) if "8_589_934_592" not in line)
    path = tmp_path / "mine.toml"
    path.write_text(bare)
    found = phibench("recommend", "--machine", str(path), "-o", "json")
    assert (found.err, json.loads(found.out)["machine"]["devices"][1]["memory_bytes"]) == ("", 8 << 30)
    path.write_text(bare.replace("RTX 4060 Laptop", "RTX 9090"))
    told = phibench("recommend", "--machine", str(path))
    assert "cuda:0 'RTX 9090' is not known; add its memory_bytes" in " ".join(told.err.split())
