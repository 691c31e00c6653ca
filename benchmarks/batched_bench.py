"""Are our batches as fast as llama.cpp's own? ``phibench run throughput`` beside llama-batched-bench, on one file.

    python benchmarks/batched_bench.py WORK [-b 1,2,4,8,16,32] [-pg 128,32] [-r 3] [--layers 4]

llama-batched-bench is compiled once into WORK from the sources of the installed llama-cpp-python (its archive on PyPI,
77 MB) and linked to that package's own libraries, so both run the same engine code; it needs g++ on Linux, 3 minutes.
Both take turns, batch by batch (A B, B A, ...), each in a process of its own, with the same threads, -b, -ub and a KV
cache of the same size. Printed are tokens per second of all sequences (median of the turns) and phibench / theirs.

llama-batched-bench decodes tg steps after the prompt; of tg tokens ours makes the first with the prompt and times the
other tg - 1 steps: so phibench is asked for one token more. Choosing tokens is in our figures, not in theirs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import llama_tools

from phibench import catalog
from phibench.backends import llama_cpp
from phibench.core import units
from phibench.probe.system import limits
from phibench.synth import gguf

SUITE = """name = "parity"
question = "As fast as llama-batched-bench?"
metrics = ["prefill_tps", "decode_tps"]
pairs = [[1, 2]]
repetitions = 1
look_s = 0.0
timeout_s = 3600.0
[warmup]
windows = 1
max_windows = 1
max_prompt_tokens = 16
"""
Speeds = dict[tuple[str, int, str], list[float]]  # (tool, batch, prefill or decode) -> tokens per second


def theirs(tool: Path, file: Path, batch: int, pair: tuple[int, int], threads: int) -> dict[str, float]:
    prompt, new = pair
    command = [str(tool), "-m", str(file), "-c", str((prompt + new + 1) * batch), "-b", "2048", "-ub", "512"]
    command += ["-npp", str(prompt), "-ntg", str(new), "-npl", str(batch), "-t", str(threads), "-ngl", "0"]
    done = subprocess.run([*command, "--output-format", "jsonl"], capture_output=True, text=True, check=True)
    row = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return {"prefill": row["speed_pp"], "decode": row["speed_tg"]}


def ours(work: Path, layers: int | None, batch: int, pair: tuple[int, int], threads: int) -> dict[str, float]:
    suite = work / "parity.toml"
    suite.write_text(SUITE, encoding="utf-8")
    command = [sys.executable, "-m", "phibench", "run", str(suite), "-m", "phi-4-mini-instruct", "-b", "llama_cpp"]
    command += ["-pg", f"{pair[0]},{pair[1] + 1}", "--batches", str(batch), "-t", str(threads), "-o", "json"]
    command += ["--results", str(work / "results"), *(["--layers", str(layers)] if layers else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = json.loads(done.stdout)
    return {"prefill": row["prefill_tps"], "decode": row["decode_tps"]}


def table(speeds: Speeds, batches: Sequence[int]) -> Iterator[str]:
    yield "| batch | phase | phibench, tok/s | llama-batched-bench | ratio | ratios of the turns |"
    yield "|--:|---|--:|--:|--:|---|"
    for batch in batches:
        for phase in ("prefill", "decode"):
            one, other = speeds["ours", batch, phase], speeds["theirs", batch, phase]
            ratios = sorted(a / b for a, b in zip(one, other, strict=True))
            found = f"{statistics.median(one):.2f} | {statistics.median(other):.2f} | {statistics.median(ratios):.3f}"
            yield f"| {batch} | {phase} | {found} | {ratios[0]:.3f} to {ratios[-1]:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("-b", "--batches", default="1,2,4,8,16,32")
    parser.add_argument("-pg", "--pair", default="128,32")
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("-t", "--threads", type=int, default=0)
    parser.add_argument("--layers", type=int)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    tool = llama_tools.compiled(given.work, "llama-batched-bench")
    file = Path(gguf.ensure(catalog.variant("phi-4-mini-instruct"), llama_cpp.QUANTIZATION, given.layers).path)
    batches, (prompt, new) = units.counts(given.batches), (int(count) for count in given.pair.split(","))
    threads = given.threads or limits.limits().threads
    speeds: Speeds = defaultdict(list)
    asks: dict[str, Callable[[int], dict[str, float]]] = {
        "ours": lambda batch: ours(given.work, given.layers, batch, (prompt, new), threads),
        "theirs": lambda batch: theirs(tool, file, batch, (prompt, new), threads),
    }
    for turn, batch in itertools.product(range(given.repetitions), batches):
        for name in sorted(asks, reverse=bool(turn % 2)):
            for phase, speed in asks[name](batch).items():
                speeds[name, batch, phase].append(speed)
                print(f"turn {turn + 1}, batch {batch}, {phase}: {name} {speed:.2f} tok/s", file=sys.stderr, flush=True)
    print("\n".join(table(speeds, batches)))


if __name__ == "__main__":
    main()
