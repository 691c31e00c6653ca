"""Is any better machine told a worse Phi? 2,000 generated machines, each asked again with more of one thing.

    python benchmarks/proofs/recommendations.py [--count 2000]

Runs tests/advise/test_better_machines.py at that size: of each machine, described or probed, one goal, and one thing
that grows (bandwidth, FLOP/s, cores, memory). What else holds of every advice is asked of a quarter as many: stricter
limits and fewer builds never help, the same inputs give the same bytes, and the best that is searched for is the first
of all.

A machine that falls is shown with the line that makes it again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASKED = ("tests", "advise", "test_better_machines.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    count = parser.parse_args().count
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT.joinpath(*ASKED))], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PHIBENCH_EXAMPLES": str(count)}, stdout=sys.stderr, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):  # 1: a test failed
        return 2
    found = "some got a worse pick" if done.returncode else "none got a worse pick"
    print(f"{count:,} generated machines, {found} ({count:,}, none)")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
