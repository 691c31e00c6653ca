"""``make proof``: the runner with small proofs of its own, as a process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROOFS = {
    "ape.py": 'import sys\nprint("3 of 3 (3)")\n',
    "bee.py": 'import sys\nprint("first words")\nprint("2.9 s (under 2 s)")\nsys.exit(1)\n',
    "cat.py": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "dog.py": 'import sys\nprint("no card here (a card)")\nsys.exit(77)\n',
    "elk.py": 'print("0 | 1 (any)")\nraise ZeroDivisionError\n',
    "fox.sh": 'echo "one | two (both)"\n',
    "gnu.py": "",
    "notes.txt": "no proof",
}
PAGE = """# Proofs

| proof | figure (asked) | holds | date | machine |
|---|---|---|---|---|
| bee | 1.0 s (under 2 s) | yes | 2020-01-01 | old-machine |
| dog | a card (a card) | yes | 2020-01-01 | old-machine |
| zebra | 7 (7) | yes | 2020-01-01 | old-machine |

What stands below stays.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "proofs").mkdir()
    for name, text in PROOFS.items():
        (tmp_path / "proofs" / name).write_text(text, encoding="utf-8")
    (tmp_path / "proofs.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def prove(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    runner = [sys.executable, str(ROOT / "benchmarks" / "proof.py"), *names]
    where = ["--folder", str(folder / "proofs"), "--page", str(folder / "proofs.md")]
    return subprocess.run([*runner, *where], capture_output=True, text=True, check=False)


def rows(folder: Path) -> dict[str, list[str]]:
    lines = [line for line in (folder / "proofs.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")] for line in lines[2:]]
    return {name: rest for name, *rest in cells}


def test_all_are_run_and_one_that_falls_short_or_dies_stops_no_other(folder: Path) -> None:
    done = prove(folder)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "ape: 3 of 3 (3)",
        "bee: 2.9 s (under 2 s)",
        "cat: no figure (the proof died of SIGSEGV (a segmentation fault))",
        "dog: no card here (a card)",
        "elk: 0 | 1 (any)",
        "fox: one | two (both)",
        "gnu: no figure (the proof exited and gave no answer)",
    ]
    assert "first words" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    found = rows(folder)
    assert {name: cells[1] for name, cells in found.items()} == {
        "ape": "yes", "bee": "**no**", "cat": "**no**", "dog": "yes", "elk": "**no**", "fox": "yes", "gnu": "**no**",
        "zebra": "yes",
    }  # fmt: skip
    assert [name for name, cells in found.items() if cells[3] == "old-machine"] == ["dog", "zebra"]
    assert (folder / "proofs.md").read_text(encoding="utf-8").endswith("|\n\nWhat stands below stays.\n")


def test_one_that_holds_is_run_alone_and_only_its_line_changes(folder: Path) -> None:
    done = prove(folder, "fox")
    assert (done.returncode, done.stdout) == (0, "fox: one | two (both)\n")
    page = (folder / "proofs.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in page if not line.startswith("| fox |")] == PAGE.splitlines()
    assert rows(folder)["fox"][0] == "one / two (both)"


def test_a_part_of_a_proof_is_run_with_it(folder: Path) -> None:
    shutil.copy(folder / "proofs" / "ape.py", folder / "proofs" / "ape_tail.py")
    assert prove(folder, "ape").stdout == "ape: 3 of 3 (3)\nape_tail: 3 of 3 (3)\n"
    assert prove(folder, "ape_tail").stdout == "ape_tail: 3 of 3 (3)\n"


def test_a_page_is_made_where_there_is_none(folder: Path) -> None:
    (folder / "proofs.md").unlink()
    assert prove(folder, "ape").returncode == 0
    assert list(rows(folder)) == ["ape"]


def test_what_cannot_be_shown_here_is_no_failure(folder: Path) -> None:
    assert prove(folder, "dog").returncode == 0
    assert (folder / "proofs.md").read_text(encoding="utf-8") == PAGE


def test_an_unknown_name_is_one_line_with_the_nearest(folder: Path) -> None:
    done = prove(folder, "aqe")
    assert (done.returncode, done.stdout) == (2, "")
    there = "ape, bee, cat, dog, elk, fox, gnu"
    assert done.stderr == f"phibench: unknown proof 'aqe'; did you mean 'ape'? there are: {there}\n"


def test_every_proof_of_ours_says_what_it_shows() -> None:
    found = [path for path in (ROOT / "benchmarks" / "proofs").iterdir() if path.suffix in (".py", ".sh")]
    assert found
    for path in found:
        assert path.read_text(encoding="utf-8").startswith(('"""', "#!")), path.name
