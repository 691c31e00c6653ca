"""Proofs at full size, too long for CI: each one prints ``name: figure (asked)``.

    python benchmarks/proof.py [NAME...]        make proof, make proof-NAME

A proof is one file in ``benchmarks/proofs/`` (the folder is the registry), a program: it prints ``figure (asked)`` as
its last line and exits with 0, with 1 when it falls short, with 77 when it cannot be shown here. What it prints before
and on stderr is shown on stderr. All are run, also after one that falls short; then the exit code is 1. docs/proofs.md
keeps the last line of each, with date and machine; what could not be shown here leaves the line that stood there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from phibench.core import ends, files
from phibench.core.errors import FAILED, INTERRUPTED, PhibenchError, unknown
from phibench.core.nouns import Noun
from phibench.core.text import scrub
from phibench.machine import inventory

HERE = Path(__file__).parent
SKIPPED = 77  # as automake has it
_LINE = re.compile(r".+ \(.+\)")
_HEAD = "| proof | figure (asked) | holds | date | machine |"
_WITH = {".py": (sys.executable,), ".sh": ("bash",)}  # by what a proof is run


class Outcome(Noun, frozen=True, kw_only=True):
    """``holds`` None: it cannot be shown on this machine."""

    name: str
    line: str  # figure (asked)
    holds: bool | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--folder", type=Path, default=HERE / "proofs", help="of the proofs")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "proofs.md", help="where the lines stand")
    args = parser.parse_args()
    try:
        outcomes = [proved(path, args.page) for path in chosen(args.folder, args.names)]
    except PhibenchError as error:
        print(f"phibench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILED if any(outcome.holds is False for outcome in outcomes) else 0


def chosen(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of these proofs, in this order, ``busy`` with its part ``busy_picks``; of all, without names. Raises
    PhibenchError for an unknown name."""
    known = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in _WITH}
    found: dict[str, Path] = {}
    for name in names:
        parts = {stem: path for stem, path in known.items() if stem == name or stem.startswith(f"{name}_")}
        if not parts:
            raise unknown("proof", name, known, f"there are: {', '.join(known)}")
        found |= parts
    return [*found.values()] or [*known.values()]


def proved(path: Path, page: Path) -> Outcome:
    """Run one proof, print its line, and let the page have it."""
    outcome = run(path)
    print(f"{outcome.name}: {outcome.line}", flush=True)
    if outcome.holds is not None:
        machine = inventory.this_machine(bandwidth=False).slug  # hardware words, no name of a host
        keep(page, outcome, f"{datetime.now(UTC):%Y-%m-%d}", machine)
    return outcome


def run(path: Path) -> Outcome:
    """A proof in a process of its own: whatever it does, it takes no other proof with it."""
    done = subprocess.run([*_WITH[path.suffix], str(path)], stdout=subprocess.PIPE, check=False)
    *before, last = done.stdout.decode("utf-8", "replace").strip().splitlines() or [""]
    told = done.returncode in (0, FAILED, SKIPPED) and _LINE.fullmatch(last)
    for line in before if told else (*before, last):
        print(line, file=sys.stderr)
    if not told:
        return Outcome(name=path.stem, line=f"no figure (the proof {ends.end(done.returncode)})", holds=False)
    return Outcome(name=path.stem, line=scrub(last), holds=None if done.returncode == SKIPPED else done.returncode == 0)


def keep(page: Path, outcome: Outcome, date: str, machine: str) -> None:
    """Rewrite this proof's line in the page's table, or add it; all else stays as it is."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    if _HEAD not in text.splitlines():
        text = f"{text}\n{_HEAD}\n|---|---|---|---|---|\n".lstrip("\n")
    lines = text.splitlines()
    first = lines.index(_HEAD) + 2
    after = next((number for number in range(first, len(lines)) if not lines[number].startswith("|")), len(lines))
    rows = {line.split("|")[1].strip(): line for line in lines[first:after]}
    cells = (outcome.name, outcome.line.replace("|", "\\|"), "yes" if outcome.holds else "**no**", date, machine)
    rows[outcome.name] = f"| {' | '.join(cells)} |"
    files.write_text(page, "\n".join([*lines[:first], *(rows[name] for name in sorted(rows)), *lines[after:]]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
