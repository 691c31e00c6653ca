"""Kills the worker of a real run with SIGSEGV, over and over: each time the run file must tell what happened.

    python benchmarks/proofs/kills.py [--times 50] [--seed N] [--backends llama_cpp,onnxruntime]

``phibench run`` is started on a slice of Phi-1, and its worker is killed once: ``--times`` for every engine, the
moments spread evenly over opening, prefill and decode (each phase is cut into equal parts, a random moment in each).
Where the phases begin is read from the byte that the worker shows to its parent; how long they last, from a run that
nobody disturbs. A kill holds when the run ends by itself with exit code 1, its file can be read, the killed test is a
failure of kind "signal" with signal and phase, the other test is measured, what was stored before is still there, and
no process is left. Linux only. The seed is printed; the same seed aims at the same moments.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from phibench import backends
from phibench.core import run_files
from phibench.core.ends import PHASES
from phibench.core.nouns import Failed, Measured, Result
from phibench.measure import worker

T = TypeVar("T")
AIMS = ("opening", "prefill", "decode")
SUITE = """name = "kills"
question = "What is left when the worker dies?"
metrics = ["prefill_tps", "decode_tps"]
prompt_tokens = [{prompt}]
new_tokens = [{new}]
repetitions = 1
look_s = 0
[warmup]
max_windows = 0
"""
MARK = "PROOF_OF_KILLS"  # in the environment of a run and of all that it starts
LOOK_S = 0.002  # between two looks at the worker
LEAVE_S = 10.0  # that helpers may take to see that their parent is gone
SLOWEST_S = 300.0  # of anything that is waited for
MISSES = 8  # in a row: the worker had left the phase before its moment came
SOONER = 0.8  # after a miss the phase is taken to last so much shorter


class Aim(NamedTuple):
    phase: str
    share: float  # of the usual time of this phase


class Kill(NamedTuple):
    """``wrong``: all that did not hold; ``phase``: in which the worker died."""

    aim: Aim
    phase: str
    wrong: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="of each engine")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--backends", default="llama_cpp,onnxruntime")
    parser.add_argument("--layers", type=int, default=2, help="of Phi-1")
    parser.add_argument("--prompt", type=int, default=256, help="tokens")
    parser.add_argument("--new", type=int, default=48, help="tokens")
    args = parser.parse_args()
    names = args.backends.split(",")
    asked = f"all of {args.times} for each engine"
    if missing := [name for name in names if backends.load(name).installed() is None]:
        print(f"not shown: {', '.join(missing)} is not installed ({asked})")
        return 77
    if not Path("/proc/self/environ").exists():
        print(f"not shown: this system has no /proc ({asked})")
        return 77
    note(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "kills.toml")
        suite.write_text(SUITE.format(prompt=args.prompt, new=args.new), encoding="utf-8")
        words = [str(suite), "-m", "phi-1", "--layers", str(args.layers)]
        found = {name: kills(name, words, aims(args.times, random.Random(f"{args.seed} {name}"))) for name in names}
    held = {name: [kill for kill in all_ if not kill.wrong] for name, all_ in found.items()}
    parts = [f"{name} {len(held[name])} ({phases(found[name])})" for name in names]
    every = sum(map(len, found.values()))
    print(f"{sum(map(len, held.values()))} of {every} kills named with nothing lost or left: {', '.join(parts)}; "
          f"seed {args.seed} ({asked})")  # fmt: skip
    return 0 if held == found and every == args.times * len(names) else 1


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def aims(times: int, rng: random.Random) -> list[Aim]:
    """Phase by phase in turns; the moments of one phase lie in equal parts of it, one in each."""
    of_phase = Counter(AIMS[number % len(AIMS)] for number in range(times))
    return [
        Aim(phase, (number // len(AIMS) + rng.random()) / of_phase[phase])
        for number, phase in ((number, AIMS[number % len(AIMS)]) for number in range(times))
    ]


def phases(found: list[Kill]) -> str:
    count = Counter(kill.phase for kill in found)
    return ", ".join(f"{phase} {count[phase]}" for phase in PHASES if count[phase])


def kills(backend: str, words: list[str], wanted: list[Aim]) -> list[Kill]:
    """All kills of one engine; those that fall short are shown at once."""
    usual = undisturbed(backend, words)
    note(f"{backend}: {', '.join(f'{phase} {usual[phase]:.2f} s' for phase in AIMS)}")
    found = []
    for number, aim in enumerate(wanted, 1):
        kill = None
        for _ in range(MISSES):
            if kill := one(backend, words, aim, usual[aim.phase]):
                break
            usual[aim.phase] *= SOONER
        kill = kill or Kill(aim, "", (f"the phase was over before the moment came, {MISSES} times",))
        found.append(kill)
        told = f"in {kill.phase}" + "".join(f"; WRONG: {line}" for line in kill.wrong)
        note(f"{backend} {number}/{len(wanted)} aimed at {aim.phase} {aim.share:.2f}, {told}")
    return found


class Under:
    """A run under way, and the byte that its worker shows."""

    def __init__(self, backend: str, words: list[str], results: Path) -> None:
        self.mark, self.results = secrets.token_hex(8), results
        self.process = subprocess.Popen(
            [sys.executable, "-m", "phibench", "run", *words, "-b", backend, "--results", str(results)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**os.environ, MARK: self.mark},
        )  # fmt: skip
        self.worker = waited(lambda: self._worker() or self.process.poll() is not None)
        self._board: int | None = None
        if isinstance(self.worker, psutil.Process):
            number = self.worker.environ()["PHIBENCH_PHASE_FILE"]  # the same for parent and worker
            self._board = os.open(f"/proc/{self.process.pid}/fd/{number}", os.O_RDONLY)

    def _worker(self) -> psutil.Process | None:
        try:
            for child in psutil.Process(self.process.pid).children():
                if child.cmdline()[-2:] == ["-m", worker.__name__] and "PHIBENCH_PHASE_FILE" in child.environ():
                    return child
        except psutil.Error:  # gone meanwhile
            pass
        return None

    def phase(self) -> str:
        assert self._board is not None, f"no worker was started: {self.process.stderr and self.process.stderr.read()!r}"
        return PHASES[os.pread(self._board, 1, 0)[0]]

    def alive(self) -> bool:
        try:
            return isinstance(self.worker, psutil.Process) and self.worker.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def kill(self) -> None:
        assert isinstance(self.worker, psutil.Process)
        self.worker.send_signal(signal.SIGSEGV)

    def stored(self) -> tuple[Result, ...]:
        """What the run file has now."""
        runs, skipped = run_files.read_runs(self.results)
        if skipped or len(runs) != 1:
            raise ValueError("; ".join(skipped) or f"{len(runs)} run files")
        return runs[0].results

    def finish(self) -> int:
        """Its exit code, when it has ended by itself."""
        try:
            self.process.communicate(timeout=SLOWEST_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        if self._board is not None:
            os.close(self._board)
        return self.process.returncode

    def left(self) -> list[str]:
        """Processes of this run that live on after it."""
        end = time.monotonic() + LEAVE_S
        while (found := [*self._marked()]) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _marked(self) -> Iterator[str]:
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    yield f"{process.pid} {' '.join(process.cmdline()[-2:])}"
            except psutil.Error:  # of somebody else, or gone
                continue


def undisturbed(backend: str, words: list[str]) -> dict[str, float]:
    """Seconds that each phase lasts when nobody kills; the model's file is in the cache afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        run = Under(backend, words, Path(folder))
        lasted = dict.fromkeys(PHASES, 0.0)
        before = time.perf_counter()
        while run.alive():
            phase = run.phase()
            time.sleep(LOOK_S)
            now = time.perf_counter()
            lasted[phase] += now - before
            before = now
        if run.finish():
            sys.exit(f"{backend} fails without being killed: phibench run {' '.join(words[1:])} -b {backend}")
    return lasted


def one(backend: str, words: list[str], aim: Aim, usual_s: float) -> Kill | None:
    """One run whose worker is killed in a phase that usually lasts so long; None when that was over before."""
    with tempfile.TemporaryDirectory() as folder:
        run = Under(backend, words, Path(folder))
        waited(lambda: run.phase() == aim.phase or not run.alive())
        before = run.stored()
        time.sleep(aim.share * usual_s)
        if run.phase() != aim.phase or not run.alive():
            run.process.kill()
            run.finish()
            return None
        run.kill()
        waited(lambda: not run.alive())
        phase = run.phase()
        code = run.finish()
        return Kill(aim, phase, tuple(wrong(run, before, phase, code)))


def wrong(run: Under, before: tuple[Result, ...], phase: str, code: int) -> Iterator[str]:
    """What does not hold after a kill."""
    if code != 1:
        yield f"exit code {code}"
    if left := run.left():
        yield f"left: {', '.join(left)}"
    try:
        after = run.stored()
    except ValueError as error:
        yield str(error)
        return
    if lost := [str(result.workload) for result in before if result not in after]:
        yield f"lost: {', '.join(lost)}"
    failed = [result for result in after if isinstance(result, Failed)]
    if len(failed) != 1 or len(after) != 2:
        yield f"{len(failed)} failures and {sum(isinstance(r, Measured) for r in after)} measured"
    for result in failed:
        if (result.kind, result.signal, result.phase) != ("signal", "SIGSEGV", phase):
            yield f"told as {result.kind}, {result.signal}, {result.phase}"
        if "SIGSEGV" not in result.reason or "exit code" in result.reason or "-11" in result.reason:
            yield f"reason: {result.reason}"


def waited(what: Callable[[], T]) -> T:
    end = time.monotonic() + SLOWEST_S
    while not (found := what()):
        if time.monotonic() > end:
            sys.exit("it did not happen in time")
        time.sleep(LOOK_S)
    return found


if __name__ == "__main__":
    sys.exit(main())
