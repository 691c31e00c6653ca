"""Does phibench report what llama-bench reports? benchmarks/fidelity.py, 24 pairs or more of each of three tests.

It holds where the median ratio of every test is within 1 % of 1. ``--work FOLDER`` keeps what is compiled.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from phibench import backends
from phibench.core import stats

FIDELITY = Path(__file__).parent.parent / "fidelity.py"
PAIRS = {"pp128": 24, "pp512": 10, "tg32": 10}  # of each of SESSIONS: a short test has more noise
SESSIONS, MOST = 3, 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    asked = f"median ratio within {100 * MOST:g} % of 1"
    if backends.load("llama_cpp").installed() is None or not shutil.which("g++"):
        print(f"not shown: it needs llama-cpp-python and g++ ({asked})")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "pairs.json")
        for test, pairs in PAIRS.items():
            words = [str(args.work or folder), "--tests", test, "--pairs", str(pairs), "--sessions", str(SESSIONS)]
            subprocess.run([sys.executable, str(FIDELITY), *words, "--json", str(found)], check=True)
        sessions = json.loads(found.read_text(encoding="utf-8"))
    ratios = {test: [a / b for a, b, _ in itertools.chain.from_iterable(sessions[test])] for test in PAIRS}
    figures = []
    for test, all_ in ratios.items():
        low, high = stats.bootstrap([all_], resamples=10_000)
        figures.append(f"{test} {stats.median(all_):.4f} [{low:.4f} to {high:.4f}] of {len(all_)} pairs")
    print(f"{', '.join(figures)} ({asked})")
    return 0 if all(abs(stats.median(all_) - 1) <= MOST for all_ in ratios.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
