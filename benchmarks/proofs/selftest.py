"""What the self-test of an engine costs: the first time, beyond starting a process and importing it, and later.

The first time is the median of five tests; later is the median of 50 look-ups of what is remembered of
all engines, which every ``run`` and ``recommend`` does once.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time

from phibench import backends
from phibench.machine import inventory
from phibench.verify import selftest

FIRST_S, LATER_S = 1.5, 0.005  # at most, of each engine
TIMES, LOOKS = 5, 50


def main() -> int:
    asked = f"under {FIRST_S:g} s, later under {1000 * LATER_S:g} ms"
    names = [name for name in backends.names() if backends.load(name).FORMATS and backends.load(name).installed()]
    if not names:
        print(f"no engine is installed ({asked})")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PHIBENCH_CACHE"] = folder
        machine = inventory.this_machine(bandwidth=False)
        seconds: dict[str, float] = {}
        for name in names:
            found = [selftest.examine(backends.load(name), "cpu", machine, lambda _: None) for _ in range(TIMES)]
            told = [one for one in found if one and one.usable and not one.options]
            if len(told) < TIMES:
                print(f"{name} does not pass its self-test ({asked})")
                return 1
            seconds[name] = statistics.median(one.seconds for one in told)
            imports = statistics.median(one.import_s for one in told)
            print(f"{name}: {', '.join(f'{one.seconds:.2f}' for one in told)} s; importing {imports:.2f} s")
            inventory.remember(told[-1])
        later_s = statistics.median(_looked() for _ in range(LOOKS)) / len(names)
    figures = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    print(f"{figures}; later {1000 * later_s:.1f} ms each ({asked})")
    return 0 if max(seconds.values()) < FIRST_S and later_s < LATER_S else 1


def _looked() -> float:
    began = time.perf_counter()
    inventory.selftests()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
