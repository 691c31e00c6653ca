"""How often noise is called a difference, and a real one is found: pairs of real worker launches. Markdown tables.

    python benchmarks/noise.py [--blocks 67] [--planted 15] [--folder build/noise]

For a quiet machine; 28 minutes on 2 cores. The model is a slice of 2 layers (phi-1, Q4_K_M, llama.cpp), small
enough that a launch takes a second. A block is what ``phibench compare`` asks for: 8 launches of A and 8 of B, who goes
first alternates, one folder of runs for each side, judged by ``phibench.compare``. Each block gives three trials (two
prompts and a decode), which share their launches: they are not independent of each other, blocks are.

- A/A: both sides are the same. Every difference that is named is a false alarm; 67 blocks are 201 trials.
- Planted: on side B each step takes 10 % longer, by a busy wait inside the worker after the engine's own step.
- A program that takes a whole cpu is started while a test is measured: the run must be marked; without it not.

The runs stay in FOLDER: what is there is not measured again. ``--simulated`` measures nothing and takes seconds: how
often 8 pairs find a difference, by the deviation of a launch (lognormal noise, 1,000 comparisons a cell).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from phibench.analysis import winners
from phibench.compare import comparison
from phibench.compare.selection import Selection
from phibench.core import files, run_files, stats
from phibench.core.nouns import Event, Job, Machine, Progress, Run, Setup, Suite, Warmup
from phibench.machine.inventory import this_machine
from phibench.machine.software import software
from phibench.measure import record, run
from phibench.measure.tasks import prepare

SETUP = Setup(variant="phi-1", quantization="Q4_K_M", backend="llama_cpp")
LAYERS = 2
SUITE = Suite(
    name="noise", question="What does noise look like?", metrics=("prefill_tps", "decode_tps"),
    prompt_tokens=(64, 128), new_tokens=(16,), repetitions=3, look_s=0.0, warmup=Warmup(windows=1, max_windows=1),
)  # fmt: skip
LONG = msgspec.structs.replace(
    SUITE, name="hog", prompt_tokens=(), repetitions=10
)  # a second, or many where threads wait for each other
SLOWER = """
import os, time
import phibench.measure.timing as measure

real, share = measure.once, float(os.environ["NOISE_SLOWER"])

class Slowed:
    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def prefill(self, tokens):
        self._longer(self._session.prefill, tokens)

    def step(self):
        self._longer(self._session.step)

    def _longer(self, work, *what):
        start = time.perf_counter()
        work(*what)
        end = time.perf_counter() + share * (time.perf_counter() - start)
        while time.perf_counter() < end:
            pass

measure.once = lambda session, workload: real(Slowed(session), workload)
"""  # a sitecustomize of the workers: both sides are wrapped, one with a share of 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=67, help="of A/A: three trials each")
    parser.add_argument("--planted", type=int, default=15, help="blocks with the slowdown")
    parser.add_argument("--slower", type=float, default=0.10, help="share by which B's steps take longer")
    parser.add_argument("--folder", type=Path, default=Path("build/noise"))
    parser.add_argument("--simulated", action="store_true")
    args = parser.parse_args()
    if args.simulated:
        print(simulated())
        return
    began, machine = time.monotonic(), this_machine(bandwidth=False)
    print("| sides | blocks | trials | B slower | B faster | median change | median half-width |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, count, share in (("A/A", args.blocks, 0.0), (f"B {args.slower:.0%} longer", args.planted, args.slower)):
        folder = args.folder / f"longer-{share:g}"
        rows = [row for number in range(count) for row in block(folder / f"{number:03}", share, machine)]
        print(line(name, count, rows), flush=True)
    for name, hog in (("nothing else", False), ("a program on one cpu", True)):
        print(f"\n{name} while a test is measured: {'; '.join(marks(args.folder, machine, hog)) or 'no mark'}")
    print(f"\n{machine.devices[0].name}, {machine.limits.cpus:g} cpus, {SETUP}, {LAYERS} layers; "
          f"{(time.monotonic() - began) / 60:.0f} minutes", file=sys.stderr)  # fmt: skip


def simulated(trials: int = 1000) -> str:
    """Share of comparisons that name a winner."""
    rng, slower = random.Random(1), (0.0, 0.02, 0.05, 0.10, 0.20)
    lines = [f"| a launch deviates by | {' | '.join(f'B {share:.0%} slower' for share in slower)} |", "|---:" * 6 + "|"]
    for noise in (0.01, 0.02, 0.05, 0.10):
        cells = []
        for share in slower:
            found = 0
            for _ in range(trials):
                pairs = [(rng.lognormvariate(0, noise), rng.lognormvariate(0, noise) * (1 - share)) for _ in range(8)]
                found += winners.beats("decode_tps", pairs) or winners.beats("decode_tps", [(b, a) for a, b in pairs])
            cells.append(f"{found / trials:.1%}")
        lines.append(f"| {noise:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def line(name: str, blocks: int, rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return f"| {name} | 0 | 0 | | | | |"
    told = Counter(row["verdict"] for row in rows)
    change = stats.median([row["change"] for row in rows])
    width = stats.median([(row["change_high"] - row["change_low"]) / 2 for row in rows])
    return f"| {name} | {blocks} | {len(rows)} | {told['worse']} | {told['better']} | {change:+.1%} | {width:.1%} |"


def block(folder: Path, share: float, machine: Machine) -> Iterator[dict[str, Any]]:
    """The rows of one comparison of 8 pairs; measured unless they are there."""
    sides = [folder / side for side in "ab"]
    if any(len(run_files.read_runs(side)[0]) != stats.MIN_PAIRS for side in sides):
        shutil.rmtree(folder, ignore_errors=True)  # a block that was cut is begun anew
        for turn in range(stats.MIN_PAIRS):
            for side in sides if turn % 2 == 0 else reversed(sides):
                launch(side, SUITE, machine, share if side is sides[1] else 0.0)
        print(f"{folder} is measured", file=sys.stderr, flush=True)
    a, b = (Selection(text=str(side), runs=run_files.read_runs(side)[0]) for side in sides)
    for row in comparison.compare(a, b).rows:
        assert row["pairs"] == stats.MIN_PAIRS, row
        yield row


def launch(folder: Path, suite: Suite, machine: Machine, share: float = 0.0, hog: list[Any] | None = None) -> Run:
    """One worker, its run in ``folder``. ``hog``: a program is started, and put in here, when a test is measured."""
    planted = folder.parent / "planted"
    files.write_text(planted / "sitecustomize.py", SLOWER)
    os.environ |= {"PYTHONPATH": str(planted.resolve()), "NOISE_SLOWER": str(share)}

    def tell(_job: Job, _launch: int, event: Event) -> None:
        if hog is not None and not hog and isinstance(event, Progress) and event.stage == "measuring":
            hog.append(subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]))

    tasks = prepare([SETUP], suite, machine, layers=LAYERS)
    done, _ = run.run(tasks, suite, machine, folder, software=software(), on_event=tell)
    if code := record.exit_code([done]):
        sys.exit(f"a launch failed ({code}): {done.results}")
    return done


def marks(folder: Path, machine: Machine, busy: bool) -> list[str]:
    """What the run says of other programs."""
    hog: list[subprocess.Popen[bytes]] = []
    try:
        done = launch(folder / "hog", LONG, machine, hog=hog if busy else None)
    finally:
        for process in hog:
            process.kill()
            process.wait()
    return [said for said in done.warnings if "busy during" in said]


if __name__ == "__main__":
    main()
