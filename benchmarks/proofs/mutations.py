"""Is any mutated file read wrongly? 10,000 mutants of the samples of every reader in tests/readers.

    python benchmarks/proofs/mutations.py [--count 10000] [--first 0] [--jobs N] [READER...]

A mutant is a sample that was cut, doubled, reordered, written in another encoding, with other values, keys or files
(tests/mutate.py). It holds where every one gives a right value, a refusal in one line or "unknown": no other
exception, no number that the mutant does not tell, no endless loop, no memory beyond bounds. Each reader is asked in
processes of its own; the seeds are the numbers from ``--first`` on, and what fails is named with its seeds:
``python tests/mutated.py READER --show SEED``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READ = ROOT / "tests" / "mutated.py"
PART = 2000  # mutants of one process


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER")
    parser.add_argument("--count", type=int, default=10_000, help="of each reader")
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    names = args.readers or listed()
    end = args.first + args.count
    parts = [(name, first, min(PART, end - first)) for name in names for first in range(args.first, end, PART)]
    with ThreadPoolExecutor(args.jobs) as pool:
        found = list(pool.map(lambda part: one(*part), parts))
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for (name, *_), said in zip(parts, found, strict=True):
        counts += Counter(said["counts"])
        for what, (times, *seeds) in said["faults"].items():
            faults[name] += times
            print(f"{name}: {what}: {times} times, seeds {seeds}", file=sys.stderr)
    outcomes = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    wrong = ", ".join(f"{name} {times}" for name, times in faults.items()) or "none read wrongly"
    print(f"{wrong} of {counts.total()} mutants of {len(names)} readers: {outcomes}; seeds {args.first} to {end - 1} "
          f"(none of {args.count} for each reader)")  # fmt: skip
    return 1 if faults or counts.total() != args.count * len(names) else 0


def listed() -> list[str]:
    """The names of all readers."""
    done = subprocess.run([*_command(), "--list"], env=_environment(), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


def one(name: str, first: int, count: int) -> dict[str, Any]:
    """What came of these mutants; a process that died is a fault of all that it had."""
    words = [*_command(), name, "--first", str(first), "--count", str(count)]
    done = subprocess.run(words, env=_environment(), capture_output=True, text=True, check=False)
    try:
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        print(done.stderr, file=sys.stderr)
        return {"counts": {}, "faults": {f"the process ended with code {done.returncode}": [1, first]}}
    print(f"{name}: {count} from {first} on: {said['counts']}", file=sys.stderr, flush=True)
    return said


def _command() -> list[str]:
    return [sys.executable, str(READ)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    sys.exit(main())
