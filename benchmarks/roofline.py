"""Is the probed read bandwidth a roof? Rounds of (probe, llama.cpp decode, probe), each ratio within its round.

    python benchmarks/roofline.py [--rounds 8] [--layers 8] [--json FILE]

The engine decodes with the weights of the full model; tokens per second times the bytes that one token reads is what
it gets out of memory. A ratio below 0.9 says that the probe reads too little to bound anything.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from phibench import backends, catalog, probe
from phibench.core import stats, units
from phibench.core.nouns import Job, Setup, Suite, Workload
from phibench.machine.inventory import this_machine
from phibench.measure import timing
from phibench.predict import costs
from phibench.synth import gguf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--variant", default="phi-4-mini-instruct")
    parser.add_argument("--quant", default="Q4_K_M")
    parser.add_argument("--layers", type=int, help="a slice, to try this script")
    parser.add_argument("--json", type=Path, help="write every round here")
    args = parser.parse_args()
    variant, machine = catalog.variant(args.variant), this_machine(bandwidth=False)
    setup = Setup(variant=variant.id, quantization=args.quant, backend="llama_cpp")
    workload = Workload(prompt_tokens=0, new_tokens=32)
    job = Job(
        setup=setup, suite=Suite(name="roofline", question="Is it a roof?", metrics=()), workloads=(workload,),
        artifact=gguf.ensure(variant, args.quant, args.layers), threads=machine.limits.threads,
    )  # fmt: skip
    cost = costs.step(costs.cost_sheet(setup, args.layers), 16)
    rounds: list[tuple[float, float]] = []
    with backends.require("llama_cpp").session(job) as session:
        timing.once(session, workload)
        for _ in range(args.rounds):
            before = probe.bandwidth(machine, 1.5).read_bytes_s or 0.0
            speed = workload.new_tokens / timing.once(session, workload).arrivals_s[-1]
            after = probe.bandwidth(machine, 1.5).read_bytes_s or 0.0
            rounds.append((max(before, after), speed * cost.bytes))
            probed, reached = rounds[-1]
            line = (
                f"probe {units.gb(probed)}/s, decode {speed:.2f} tok/s = {units.gb(reached)}/s: {probed / reached:.3f}"
            )
            print(line, file=sys.stderr, flush=True)
            if args.json:
                args.json.write_text(json.dumps(rounds), encoding="utf-8")
    ratios = [probed / reached for probed, reached in rounds]
    low, high = stats.bootstrap([ratios], resamples=10_000)
    print("| rounds | probe, best | decode, best | best / best | median ratio of a round | 95 % interval | lowest |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    best = [max(column) for column in zip(*rounds, strict=True)]
    print(
        f"| {len(rounds)} | {units.gb(best[0])}/s | {units.gb(best[1])}/s | {best[0] / best[1]:.3f} "
        f"| {stats.median(ratios):.3f} | {low:.3f} to {high:.3f} | {min(ratios):.3f} |"
    )


if __name__ == "__main__":
    main()
