"""How long the command line takes to start, in two checkouts that take turns (A B, B A, ...): ratios NEW / OLD.

    python benchmarks/cli_start.py OLD NEW [--pairs 20]

Each command is a process of its own with this Python, started once before the clock runs: what the clock on the wall
saw, and what it took of the processors, which tells more where other programs run. The interval is that of all pairs
(phibench.core.stats.paired_interval); where it holds 1, no difference was shown.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from phibench.core import stats

COMMANDS = (
    "--version", "--help", "models -o json", "recommend --machine docs/machines/laptop.toml -o json",
)  # fmt: skip


def seconds(checkout: Path, words: str, folder: Path) -> tuple[float, float]:
    """Of one process: on the wall, and of the processors. CalledProcessError where it fails."""
    own = {"PYTHONPATH": str(checkout), "PHIBENCH_CACHE": str(folder), "PHIBENCH_RESULTS": str(folder)}
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-P", "-m", "phibench", *shlex.split(words)], cwd=checkout, env=os.environ | own,
                   stdout=subprocess.DEVNULL, check=True)  # fmt: skip
    wall, after = time.perf_counter() - began, os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


def turns(old: Path, new: Path, words: str, pairs: int, folder: Path) -> list[tuple[tuple[float, float], ...]]:
    """What :func:`seconds` says of (old, new), of each pair; who goes first alternates."""
    for checkout in (old, new):
        seconds(checkout, words, folder)  # writes byte code, fills the page cache
    found: list[tuple[tuple[float, float], ...]] = []
    for number in range(pairs):
        order = (old, new) if number % 2 == 0 else (new, old)
        first, second = (seconds(checkout, words, folder) for checkout in order)
        found.append((first, second) if number % 2 == 0 else (second, first))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("new", type=Path, metavar="NEW")
    parser.add_argument("--pairs", type=int, default=20)
    args = parser.parse_args()
    for checkout in (args.old, args.new):  # as an installed phibench has it
        compileall.compile_dir(checkout / "phibench", quiet=1)
    print(f"| phibench | time | OLD ms | NEW ms | NEW / OLD | {1 - stats.ALPHA:.0%} interval |")
    print("|---|---|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory(prefix="cli-start-") as folder:
        for words in COMMANDS:
            pairs = turns(args.old.resolve(), args.new.resolve(), words, args.pairs, Path(folder))
            for place, name in enumerate(("wall", "processors")):
                old, new = ([one[place] for one in side] for side in zip(*pairs, strict=True))
                low, high = stats.paired_interval(new, old)
                ratio = stats.median([b / a for a, b in zip(old, new, strict=True)])
                print(f"| {words} | {name} | {1e3 * stats.median(old):.0f} | {1e3 * stats.median(new):.0f} "
                      f"| {ratio:.3f} | {low:.3f}..{high:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
