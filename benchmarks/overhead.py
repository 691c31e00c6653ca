"""What measuring costs: microseconds of the harness for a token, and the share that the watch over memory takes.

    python benchmarks/overhead.py [--layers 8] [--pairs 12]

1. The null backend computes nothing: what a token takes then is the harness alone, through a real worker.
2. One session of llama.cpp (Phi-4-mini Q4_K_M, all layers unless --layers) decodes in windows, by turns
   without and with the process that looks at its memory: not, watched, watched, not, ...
"""

from __future__ import annotations

import argparse
import contextlib
import os

from phibench import catalog, synth
from phibench.backends import llama_cpp
from phibench.core import stats
from phibench.core.nouns import Artifact, Job, Measured, Setup, Suite, Workload
from phibench.measure import launch, timing
from phibench.meters import memory
from phibench.probe.system.limits import limits

TOKENS = 100_000  # of the null backend, in each repetition
VARIANT = "phi-4-mini-instruct"


def job(backend: str, tokens: int, artifact: Artifact) -> Job:
    suite = Suite(name="overhead", question="What does measuring cost?", metrics=("tpot_s",), new_tokens=(tokens,))
    setup = Setup(variant=VARIANT, quantization="Q4_K_M", backend=backend)
    return Job(setup=setup, suite=suite, workloads=suite.workloads(), artifact=artifact, threads=limits().threads)


def harness_us() -> tuple[float, ...]:
    """Microseconds of each repetition for a token that costs nothing."""
    nothing = Artifact(path="", bytes=0, weights="synthetic")
    (result,) = launch.results(job("null", TOKENS, nothing), lambda _: None)
    assert isinstance(result, Measured)
    return tuple(1e6 * (s.arrivals_s[-1] - s.arrivals_s[0]) / (TOKENS - 1) for s in result.samples)


def watched_pairs(layers: int | None, pairs: int, tokens: int) -> list[tuple[float, float]]:
    """Seconds of a window (not watched, watched), by turns in one session."""
    artifact = synth.ensure(catalog.variant(VARIANT), "Q4_K_M", "gguf", layers)
    with llama_cpp.session(job("llama_cpp", tokens, artifact)) as session:

        def seconds(watched: bool) -> float:
            with memory.watching(os.getpid(), "cpu") if watched else contextlib.nullcontext():
                return timing.once(session, Workload(prompt_tokens=0, new_tokens=tokens)).arrivals_s[-1]

        seconds(watched=False)
        found = []
        for number in range(pairs):
            took = {watched: seconds(watched) for watched in ((True, False) if number % 2 else (False, True))}
            found.append((took[False], took[True]))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, help="a slice of the model")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=48, help="decoded in each window")
    args = parser.parse_args()
    costs = harness_us()
    print(f"harness: {stats.median(costs):.2f} µs a token [{min(costs):.2f}..{max(costs):.2f}], "
          f"{len(costs)} x {TOKENS} tokens of the null backend through a worker", flush=True)  # fmt: skip
    alone, watched = zip(*watched_pairs(args.layers, args.pairs, args.tokens), strict=True)
    ratio = stats.median([one / other for one, other in zip(alone, watched, strict=True)])
    low, high = stats.paired_interval(alone, watched)
    print(f"decode while memory is watched: {ratio:.3f} of the speed without [{low:.3f}..{high:.3f}], median and "
          f"{1 - stats.ALPHA:.0%} interval of {args.pairs} pairs of {args.tokens} tokens, "
          f"{f'{args.layers} layers' if args.layers else 'all layers'}")  # fmt: skip


if __name__ == "__main__":
    main()
