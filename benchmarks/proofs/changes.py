"""Does the change that is told for a refusal turn it, and nothing smaller? 200 refusals by an amount, and 50 others.

    python benchmarks/proofs/changes.py [--count 200] [--others 50] [--tries 1000] [--seed 18]

Machines are rows of the table with 2 to 32 GiB, or as probed, goals, contexts and limits are random (tests/changed.py).
Of a change that is told, its flags must make the setup a yes; with one step less of any part of it it must be none, nor
by any kind of change that costs less, alone. Where nothing is told, so many random changes of one or two kinds (of all
at once where something else than an amount speaks against it) must find none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import changed  # tests/changed.py


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--others", type=int, default=50)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=18)
    args = parser.parse_args()
    found = changed.asked(args.seed, args.count, args.others, args.tries)
    for line in found.wrong:
        print(f"does not hold: {line}", file=sys.stderr)
    for line in found.missed:
        print(f"has a change: {line}", file=sys.stderr)
    right, nothing = found.amounts - len(found.wrong), found.nothing - len(found.missed)
    print(
        f"{right} of {found.amounts} changes turn their refusal and are the smallest; where none is told, {nothing} of "
        f"{found.nothing} had none among {args.tries} random ones; seed {args.seed} "
        f"(all of {args.count}, all of {args.others})"
    )
    return 1 if found.wrong or found.missed else 0


if __name__ == "__main__":
    sys.exit(main())
