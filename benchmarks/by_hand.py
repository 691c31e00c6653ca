"""phibench against onnxruntime-genai driven by hand on the same folder: interleaved pairs, ratio of medians.

    python benchmarks/by_hand.py [--sessions 3] [--pairs 12] [--json FILE]

By hand is the loop of onnxruntime-genai's examples: ``append_tokens``, then ``generate_next_token`` and
``get_next_tokens`` until ``is_done``, in a process of its own. Both keep the model open and take turns, test by test;
who goes first alternates, and tests are short, so that what else the machine does hits both alike. Same folder, threads
and max_length. The first pair of a session warms both up and is left out. A ratio above 1: phibench reports the higher
speed. Each session starts the peer's process and our session afresh, since where a process's pages lie in memory stays
with it; who opens first alternates. FILE is added to, so that the pairs may be taken in parts.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from phibench import backends, catalog, synth
from phibench.core import stats
from phibench.core.nouns import Job, Setup, Suite, Workload
from phibench.machine.inventory import this_machine
from phibench.measure import timing

TESTS = {"pp64": Workload(prompt_tokens=64, new_tokens=0), "tg16": Workload(prompt_tokens=0, new_tokens=16)}
BY_HAND = """
import json, sys, time
import numpy as np
import onnxruntime_genai as og

folder, threads = sys.argv[1], int(sys.argv[2])
config = og.Config(folder)
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
model = og.Model(config)
random = np.random.default_rng(1)
print("open", flush=True)
for line in sys.stdin:
    prompt, new = map(int, line.split())
    params = og.GeneratorParams(model)
    size = (prompt or 1) + (new or 1)
    params.set_search_options(max_length=size, min_length=size, do_sample=False)
    generator = og.Generator(model, params)
    ids = random.integers(3, 10_000, prompt or 1).astype(np.int32)
    start = time.perf_counter()
    generator.append_tokens(ids)
    while not generator.is_done():
        generator.generate_next_token()
        token = generator.get_next_tokens()[0]
    print(time.perf_counter() - start, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=12, help="of each session and test")
    parser.add_argument("--tests", default=",".join(TESTS))
    parser.add_argument("--variant", default="phi-4-mini-instruct")
    parser.add_argument("--quant", default="int4")
    parser.add_argument("--layers", type=int, help="a slice, to try this script")
    parser.add_argument("--same-model", action="store_true", help="the loop by hand runs on the model that we opened")
    parser.add_argument("--json", type=Path, help="write every pair here")
    args = parser.parse_args()
    variant = catalog.variant(args.variant)
    job = Job(
        setup=Setup(variant=variant.id, quantization=args.quant, backend="onnxruntime"),
        suite=Suite(name="by hand", question="Does phibench report what a loop by hand reaches?", metrics=()),
        workloads=tuple(TESTS.values()),
        artifact=synth.ensure(variant, args.quant, "onnx", args.layers),
        threads=this_machine(bandwidth=False).limits.threads,
    )
    found: dict[str, list[list[list[float]]]] = {}
    if args.json and args.json.exists():
        found = json.loads(args.json.read_text(encoding="utf-8"))
    for number in range(args.sessions):
        with contextlib.ExitStack() as stack:
            peer: Peer | SameModel
            if number % 2 and not args.same_model:  # who opens first lies elsewhere in memory
                peer = stack.enter_context(Peer(job))
            session = stack.enter_context(backends.require("onnxruntime").session(job))
            if args.same_model:
                peer = SameModel(session)
            elif not number % 2:
                peer = stack.enter_context(Peer(job))
            for name in args.tests.split(","):
                seen = found.setdefault(name, [])
                seen.append([])
                for pair in pairs(session, peer, TESTS[name], args.pairs):
                    seen[-1].append([*pair])
                    print(f"{name} {pair[0]:.3f} {pair[1]:.3f} {pair[0] / pair[1]:.4f}", file=sys.stderr, flush=True)
                    if args.json:
                        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(found))


def pairs(session: Any, peer: Peer | SameModel, workload: Workload, count: int) -> Iterator[tuple[float, float]]:
    """(phibench, by hand) tokens per second, ``count`` times."""
    tokens = workload.prompt_tokens + workload.new_tokens
    for number in range(count + 1):
        first = peer.seconds(workload) if number % 2 else None
        ours = timing.once(session, workload).arrivals_s[-1]
        theirs = peer.seconds(workload) if first is None else first
        if number:
            yield tokens / ours, tokens / theirs


class SameModel:
    """The loop by hand on the opened model of our session: what the loop costs, wherever the weights lie."""

    def __init__(self, session: Any) -> None:
        self._model = session._model  # noqa: SLF001

    def seconds(self, workload: Workload) -> float:
        import onnxruntime_genai as og

        params = og.GeneratorParams(self._model)
        size = (workload.prompt_tokens or 1) + (workload.new_tokens or 1)
        params.set_search_options(max_length=size, min_length=size, do_sample=False)
        generator = og.Generator(self._model, params)
        ids = np.random.default_rng(1).integers(3, 10_000, workload.prompt_tokens or 1).astype(np.int32)
        start = time.perf_counter()
        generator.append_tokens(ids)
        while not generator.is_done():
            generator.generate_next_token()
            generator.get_next_tokens()
        return time.perf_counter() - start


class Peer:
    """The loop by hand in a process of its own, which waits for its turn."""

    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-c", BY_HAND, job.artifact.path, str(job.threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        self._line()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def seconds(self, workload: Workload) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{workload.prompt_tokens} {workload.new_tokens}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline() or sys.exit(f"the loop by hand ended with {self._process.wait()}")


def table(found: dict[str, list[list[list[float]]]]) -> str:
    """Ratio of medians, the median per-pair ratio with its 95 % bootstrap interval, per test."""
    lines = ["| test | pairs | phibench tok/s | by hand tok/s | ratio of medians | median pair | 95 % interval |",
             "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for test, sessions in found.items():
        ours, theirs = zip(*itertools.chain.from_iterable(sessions), strict=True)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = stats.bootstrap([ratios], resamples=10_000)
        mine, other = stats.median(ours), stats.median(theirs)
        lines.append(
            f"| {test} | {len(ours)} | {mine:.2f} | {other:.2f} | {mine / other:.4f} "
            f"| {stats.median(ratios):.4f} | {low:.4f} to {high:.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
