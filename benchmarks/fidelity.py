"""phibench against llama-bench on the same file: interleaved pairs, per-pair ratios, bootstrap interval.

    python benchmarks/fidelity.py --llama-bench PATH [--pairs 15] [--json FILE]

Both run pp512 and tg64 in a fresh process per pair member, warm-up and one timed repetition (llama-bench warms up
with a whole prompt, phibench here with 32 tokens), with the same threads, n_batch, n_ubatch, flash-attention and a context of exactly the test's size (as llama-bench chooses it).
Which one goes first alternates. A ratio above 1 means that phibench reports the higher speed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from phibench import catalog, stats
from phibench.inventory import here
from phibench.synth import gguf

SUITE = """
name = "fidelity"
question = "Do we report what llama-bench reports?"
metrics = ["prefill_tps", "decode_tps"]
prompt_tokens = [512]
new_tokens = [64]
repetitions = {repetitions}
[warmup]
windows = 1
max_windows = 1
max_prompt_tokens = 32
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bench", required=True, type=Path)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--variant", default="phi-4-mini-instruct")
    parser.add_argument("--quant", default="Q4_K_M")
    parser.add_argument("--json", type=Path, help="write every pair here")
    args = parser.parse_args()
    threads = here(bandwidth=False).limits.threads
    variant = catalog.variant(args.variant)
    file = gguf.ensure(variant, args.quant).path
    pairs: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "fidelity.toml")
        suite.write_text(SUITE.format(repetitions=args.repetitions), encoding="utf-8")
        runners = {
            "phibench": lambda: phibench(suite, variant.id, args.quant, threads, folder),
            "llama-bench": lambda: llama_bench(args.llama_bench, file, threads, args.repetitions),
        }
        for number in range(args.pairs):
            order = ("phibench", "llama-bench") if number % 2 == 0 else ("llama-bench", "phibench")
            pair = {name: runners[name]() for name in order}
            pairs.append(pair)
            print(f"pair {number + 1}: {json.dumps(pair)}", file=sys.stderr, flush=True)
            if args.json:
                args.json.write_text(json.dumps(pairs, indent=1), encoding="utf-8")
    print(table(pairs))


def phibench(suite: Path, variant: str, quant: str, threads: int, folder: str) -> dict[str, float]:
    """Tokens per second by test, through the front door."""
    command = [sys.executable, "-m", "phibench", "run", str(suite), "-m", variant, "-q", quant, "-fa", "on"]
    command += ["-t", str(threads), "-ub", "512", "--n-batch", "2048", "--results", folder, "-o", "json"]
    return speeds(command)


def llama_bench(binary: Path, file: str, threads: int, repetitions: int) -> dict[str, float]:
    command = [str(binary), "-m", file, "-p", "512", "-n", "64", "-r", str(repetitions), "-t", str(threads)]
    return speeds([*command, "-fa", "on", "-ub", "512", "-b", "2048", "-o", "json"])


def speeds(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return {("tg64" if row["n_gen"] else "pp512"): row["avg_ts"] for row in json.loads(done.stdout)}


def table(pairs: list[dict[str, dict[str, float]]]) -> str:
    """Median per-pair ratio with its 95 % bootstrap interval, per test."""
    lines = ["| test | pairs | phibench tok/s | llama-bench tok/s | median ratio | 95 % interval |",
             "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for test in ("pp512", "tg64"):
        ours = [p["phibench"][test] for p in pairs]
        theirs = [p["llama-bench"][test] for p in pairs]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = stats.bootstrap([ratios], resamples=10_000)
        lines.append(
            f"| {test} | {len(pairs)} | {stats.median(ours):.2f} | {stats.median(theirs):.2f} "
            f"| {stats.median(ratios):.4f} | {low:.4f} to {high:.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
