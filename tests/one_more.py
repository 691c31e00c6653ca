"""A copy of the package in which one thing more is added, and the command line of that copy as real processes.

Only additions are possible: a new file, a copy of a folder under another name, lines put into a file that is there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

CHECKOUT = Path(__file__).parents[1]
_PARTS = ("phibench", "suites", "dashboard")
_WAIT_S = 300
_MACHINE = 'ROOT = Path("/")\n'  # of phibench/probe/system/cpu.py


class Said(msgspec.Struct, frozen=True):
    """What a process left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Copy:
    """``phibench``, ``suites`` and ``dashboard`` in a folder of their own, imported from there and nowhere else.

    ``machine``: a recorded tree that stands for the machine in every process; the only line that is not as it was.
    ``known``: a machine.json, for a cache and results of its own in which no command measures the machine anew.
    """

    def __init__(self, folder: Path, machine: Path | None = None, known: Path | None = None) -> None:
        self.folder = folder
        self.package = folder / "phibench"
        self._cwd = folder if known else CHECKOUT
        self.env = {key: value for key, value in os.environ.items() if not (known and key.startswith("PHIBENCH_"))}
        for part in _PARTS:
            shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("*.pyc.*"))
        if machine:
            file = folder / "phibench" / "probe" / "system" / "cpu.py"
            before = file.read_text(encoding="utf-8")
            assert before.count(_MACHINE) == 1
            file.write_text(before.replace(_MACHINE, f"ROOT = Path({str(machine)!r})\n"), encoding="utf-8")
        if known:
            (folder / "cache").mkdir()
            shutil.copy(known, folder / "cache")
            self.env["PHIBENCH_CACHE"] = str(folder / "cache")

    def add(self, path: str, text: str) -> None:
        """A new file."""
        file = self.folder / path
        assert not file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def add_copy(self, path: str, of: str, **changed: str) -> None:
        """A file or folder like another one, with words changed: ``NAME='"demo"'`` is what stands behind ``NAME =``."""
        source, target = self.folder / of, self.folder / path
        assert not target.exists()
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
        for file in [target, *target.rglob("*")]:
            if file.suffix in (".py", ".toml"):
                lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
                file.write_text("".join(_changed(line, changed) for line in lines), encoding="utf-8")

    def insert(self, path: str, text: str, before: str | None = None) -> None:
        """Lines more in a file: at its end, or before the one line that begins with ``before``."""
        file = self.folder / path
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [i for i, line in enumerate(lines) if before is not None and line.startswith(before)]
        assert before is None or len(places) == 1, f"{path}: {len(places)} lines begin with {before}"
        place = places[0] if places else len(lines)
        file.write_text("".join([*lines[:place], text, *lines[place:]]), encoding="utf-8")

    def remove(self, path: str) -> None:
        """What was added is gone again."""
        assert not (CHECKOUT / path).exists()
        target = self.folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    def phibench(self, *words: str, code: int | None = 0, of: Path | None = None) -> Said:
        """The front door; ``code`` is what it must leave with, None: anything. ``of``: another folder's phibench."""
        return self.python("-m", "phibench", *words, code=code, of=of)

    def rows(self, *words: str) -> Any:
        return self.phibench(*words, "-o", "json").json()

    def python(self, *words: str, code: int | None = 0, of: Path | None = None) -> Said:
        """Python with this copy, and no other, as its phibench."""
        done = subprocess.run(
            [sys.executable, "-P", *words], env={**self.env, "PYTHONPATH": str(of or self.folder)}, cwd=self._cwd,
            capture_output=True, text=True, encoding="utf-8", timeout=_WAIT_S, check=False,
        )  # fmt: skip
        assert code in (None, done.returncode), f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{words}\n{done.stderr}"
        return Said(done.returncode, done.stdout, done.stderr)


def _changed(line: str, changed: dict[str, str]) -> str:
    name, equals, _ = line.partition(" = ")
    return f"{name}{equals}{changed[name]}\n" if equals and name in changed else line
