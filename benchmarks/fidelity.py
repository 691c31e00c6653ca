"""phibench against llama-bench on the same file: interleaved pairs, per-pair ratios, bootstrap interval.

    python benchmarks/fidelity.py WORK [--tests pp128,pp512,tg32] [--sessions 3] [--pairs 8] [--json FILE]

llama-bench is compiled into WORK once (benchmarks/llama_tools.py) and linked to the libraries that phibench loads.

Both keep the model open in a process of their own and take turns, test by test: llama-bench is given the same test
many times over (``-p 512,512,...``), says when each one starts, and is then stopped (SIGSTOP, during its ``--delay``,
outside what it times) while phibench measures; who goes first alternates. So a pair is seconds apart, not minutes, and
what other tenants of the machine do hits both alike. Where the machine is noisy, the last column says more than any
ratio: what of phibench's timed stretch is not spent in llama_decode and llama_synchronize, all that llama-bench times.
Same n_ctx (exactly the test's size), n_batch, n_ubatch, threads and flash-attention. The first pair of a session warms
both up and is left out. A ratio above 1: phibench reports the higher speed. Each session starts both processes afresh,
since where a process's pages lie in memory stays with it. FILE is added to, so that the pairs may be taken in parts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import llama_tools

from phibench import backends, catalog, synth
from phibench.core import stats
from phibench.core.nouns import Job, Setup, Suite, Workload
from phibench.machine.inventory import this_machine
from phibench.measure import timing

TESTS = {
    "pp128": Workload(prompt_tokens=128, new_tokens=0), "pp512": Workload(prompt_tokens=512, new_tokens=0),
    "tg32": Workload(prompt_tokens=0, new_tokens=32), "tg64": Workload(prompt_tokens=0, new_tokens=64),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=8, help="of each session")
    parser.add_argument("--tests", default="pp128,pp512,tg32", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--variant", default="phi-4-mini-instruct")
    parser.add_argument("--quant", default="Q4_K_M")
    parser.add_argument("--layers", type=int, help="a slice, to try this script")
    parser.add_argument("--json", type=Path, help="write every pair here")
    args = parser.parse_args()
    binary = llama_tools.compiled(args.work, "llama-bench")
    variant = catalog.variant(args.variant)
    suite = Suite(name="fidelity", question="Do we report what llama-bench reports?", metrics=())
    job = Job(
        setup=Setup(variant=variant.id, quantization=args.quant, backend="llama_cpp", options=(("flash_attn", "on"),)),
        suite=suite,
        workloads=tuple(TESTS.values()),
        artifact=synth.ensure(variant, args.quant, "gguf", args.layers),
        threads=this_machine(bandwidth=False).limits.threads,
    )
    found: dict[str, list[list[list[float]]]] = {}
    if args.json and args.json.exists():
        found = json.loads(args.json.read_text(encoding="utf-8"))
    for name in args.tests.split(",") * args.sessions:
        seen = found.setdefault(name, [])
        seen.append([])
        with backends.require("llama_cpp").session(job) as session:
            for pair in pairs(session, TESTS[name], job, binary, args.pairs):
                seen[-1].append([*pair])
                told = f"{name} {pair[0]:.3f} {pair[1]:.3f} {pair[0] / pair[1]:.4f} {100 * pair[2]:.4f} %"
                print(told, file=sys.stderr, flush=True)
                if args.json:
                    args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(found))


def pairs(session: Any, workload: Workload, job: Job, binary: Path, count: int) -> Any:
    """(phibench, llama-bench) tokens per second and the share of ours outside of the engine, ``count`` times."""
    tokens = workload.prompt_tokens + workload.new_tokens
    peer = LlamaBench(binary, job, workload, count + 1)
    engine = session._api = Engine(session._api)  # noqa: SLF001  to time its calls

    def ours() -> tuple[float, float]:
        session.begin(workload)
        engine.seconds = 0.0
        timed_s = timing.once(session, workload).arrivals_s[-1]
        return tokens / timed_s, 1 - engine.seconds / timed_s

    try:
        for number in range(count + 1):
            if number % 2:
                theirs = peer.go_on()
                speed, outside = ours()
            else:
                speed, outside = ours()
                theirs = peer.go_on()
            if number:
                yield speed, theirs, outside
    finally:
        peer.process.kill()
        peer.process.wait()


class Engine:
    """llama.cpp's API as phibench calls it; ``seconds``: spent in what llama-bench times, too."""

    def __init__(self, api: Any) -> None:
        self._api, self.seconds = api, 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._api, name)
        return self._timed(call) if name in ("llama_decode", "llama_synchronize") else call

    def _timed(self, call: Any) -> Any:
        def timed(*given: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


class LlamaBench:
    """The peer's process: one test after another, stopped between them."""

    def __init__(self, binary: Path, job: Job, workload: Workload, count: int) -> None:
        prompts = ",".join([str(workload.prompt_tokens)] * (count if workload.prompt_tokens else 1))
        generated = ",".join([str(workload.new_tokens)] * (count if workload.new_tokens else 1))
        command = [str(binary), "-m", job.artifact.path, "-p", prompts, "-n", generated, "-r", "1", "-fa", "on"]
        command += ["-t", str(job.threads), "-b", "2048", "-ub", "512", "-ngl", "0", "--no-warmup", "--delay", "1"]
        self.process = subprocess.Popen(
            [*command, "--progress", "-o", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._left = count
        self._stop_at_start()

    def _stop_at_start(self) -> None:
        """Wait until the next test is announced, then hold the process."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.rstrip().endswith("starting"):
                os.kill(self.process.pid, signal.SIGSTOP)
                return
        sys.exit(f"llama-bench ended early with {self.process.wait()}")

    def go_on(self) -> float:
        """Let it run its test, and hold it again before the next; the test's tokens per second."""
        assert self.process.stdout is not None
        os.kill(self.process.pid, signal.SIGCONT)
        speed = float(json.loads(self.process.stdout.readline())["avg_ts"])
        self._left -= 1
        if self._left:
            self._stop_at_start()
        return speed


def table(found: dict[str, list[list[list[float]]]]) -> str:
    """Median per-pair ratio with its 95 % bootstrap interval, and the range of the sessions' medians, per test."""
    lines = [
        "| test | pairs | phibench tok/s | llama-bench tok/s | median ratio | 95 % interval | each session | outside |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for test, sessions in found.items():
        by_session = [[a / b for a, b, _ in session] for session in sessions if session]
        medians = [stats.median(ratios) for ratios in by_session]
        ratios = [*itertools.chain.from_iterable(by_session)]
        ours, theirs, outside = zip(*itertools.chain.from_iterable(sessions), strict=True)
        low, high = stats.bootstrap([ratios], resamples=10_000)
        lines.append(
            f"| {test} | {len(ours)} | {stats.median(ours):.2f} | {stats.median(theirs):.2f} "
            f"| {stats.median(ratios):.4f} | {low:.4f} to {high:.4f} "
            f"| {len(medians)}: {min(medians):.4f} to {max(medians):.4f} | {100 * stats.median(outside):.3f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
