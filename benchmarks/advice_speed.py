"""How long advice takes: one machine in a process of its own, all of the table, an inventory of a thousand.

    python benchmarks/advice_speed.py [--turns 9] [--rows 1000] [--short] [--beside PROGRAM WORD...]

``--short``: only the cold ones. ``--beside``: another program that answers alike, which takes turns with them. Cold is
a process of its own, with its byte code written and what is slow to ask of this machine remembered, as from the second
time on. Of those the median and the range of all turns are shown; what the clock on the wall saw, and what was taken
of the processors, which tells more where other programs run. The stored run is the example that comes with phibench,
told to be of this machine, so that it teaches. Exit code 1 where a median on the wall is over its limit.
"""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from phibench import catalog
from phibench.advise import many
from phibench.catalog import hardware
from phibench.core import errors, files, run_files, stats
from phibench.core.nouns import Hardware, Machine
from phibench.machine import inventory
from phibench.machine.described import machine_of

ROOT = Path(__file__).resolve().parent.parent
WHOLE = ("cpu", "soc", "phone", "sbc")  # rows that a machine is told by, as its processor
PHIBENCH = (sys.executable, "-P", "-m", "phibench", "recommend")


class Ask(NamedTuple):
    """``limit_s`` on the wall, None of what is only looked at."""

    name: str
    command: tuple[str, ...]
    limit_s: float | None


class Took(NamedTuple):
    wall_s: float
    processors_s: float


def cold(ask: Ask) -> Took:
    """Of one process. CalledProcessError where it fails; that nothing fits, or can be said, is an answer."""

    def asked() -> None:
        done = subprocess.run(ask.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode not in (0, errors.NOTHING_FITS, errors.TOO_BUSY):
            raise subprocess.CalledProcessError(done.returncode, ask.command, None, done.stderr)

    return clocked(asked)


def clocked(what: Callable[[], object]) -> Took:
    """Of it and of the processes that it waits for."""
    began, before = time.perf_counter(), os.times()
    what()
    wall, after = time.perf_counter() - began, os.times()
    return Took(wall, sum(after[:4]) - sum(before[:4]))


def in_turns(asks: Sequence[Ask], turns: int) -> dict[Ask, list[Took]]:
    """Whose turn it is first changes; once before the clock runs, which fills the page cache."""
    found: dict[Ask, list[Took]] = {ask: [] for ask in asks if cold(ask)}
    for number in range(turns):
        at = number % len(asks)
        for ask in (*asks[at:], *asks[:at]):
            found[ask].append(cold(ask))
    return found


def prepared(folder: Path) -> None:
    """This machine's slow figures in the cache of ``folder``, the stored run in its results; children inherit both."""
    os.environ |= {"PHIBENCH_CACHE": str(folder), "PHIBENCH_RESULTS": str(folder / "results")}
    os.environ["PYTHONPATH"] = str(ROOT)
    compileall.compile_dir(ROOT / "phibench", quiet=1)
    (example,) = (ROOT / "results" / "example").glob("*.json")
    run = msgspec.structs.replace(run_files.read_run(example), machine=inventory.this_machine(), example=False)
    files.write_json(run_files.run_path(folder / "results", run), run)


def table() -> None:
    """Every goal for every row that is a machine or makes one."""
    machines = [machine(row) for row in hardware.rows() if row.kind != "npu"]
    for goal in catalog.goals():
        many.picks(machines, goal, ())


def machine(row: Hardware) -> Machine:
    return (machine_of(cpu=row) if row.kind in WHOLE else machine_of(gpu=row)).machine


def listed(folder: Path, rows: int) -> Ask:
    path = folder / "inventory.csv"
    made = (sys.executable, str(ROOT / "benchmarks" / "inventory.py"), "--rows", str(rows))
    path.write_bytes(subprocess.run(made, stdout=subprocess.PIPE, check=True).stdout)
    return Ask(f"`recommend --machines`, {rows:,} of an office", (*PHIBENCH, "--machines", str(path)), 30.0)


def line(name: str, took: Sequence[Took], limit_s: float | None) -> bool:
    """Prints a row; whether the limit is kept."""
    cells = []
    for seconds in zip(*took, strict=True):
        middle, many_of = stats.median(list(seconds)), len(seconds) > 1
        cells.append(f"{middle:.2f} s" + (f" ({min(seconds):.2f}–{max(seconds):.2f})" if many_of else ""))
    kept = limit_s is None or stats.median([one.wall_s for one in took]) <= limit_s
    limit = "" if limit_s is None else f"{limit_s:g} s" + ("" if kept else ", **missed**")
    print(f"| {name} | {' | '.join(cells)} | {limit} |", flush=True)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--rows", type=int, default=1000, help="of the inventory")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--beside", nargs=argparse.REMAINDER, default=[], metavar="WORD")
    args = parser.parse_args()
    asks = [
        Ask("`recommend`, with a stored run", PHIBENCH, 1.0),
        Ask('`recommend --gpu "RTX 3060" --ram 32GiB`', (*PHIBENCH, "--gpu", "RTX 3060", "--ram", "32GiB"), 0.5),
    ]
    if args.beside:
        asks.append(Ask(f"`{' '.join((Path(args.beside[0]).name, *args.beside[1:]))}`", tuple(args.beside), None))
    with tempfile.TemporaryDirectory(prefix="advice-speed-") as folder:
        prepared(Path(folder))
        print(f"On {inventory.this_machine(bandwidth=False).slug}, {args.turns} turns:\n")
        print("| what | on the wall | of the processors | limit |\n|---|--:|--:|--:|")
        kept = [line(ask.name, took, ask.limit_s) for ask, took in in_turns(asks, args.turns).items()]
        if not args.short:
            rows = sum(row.kind != "npu" for row in hardware.rows())
            kept.append(line(f"{len(catalog.goals())} goals for {rows} rows of the table", [clocked(table)], 60.0))
            office = listed(Path(folder), args.rows)
            kept.append(line(office.name, [cold(office)], office.limit_s))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
