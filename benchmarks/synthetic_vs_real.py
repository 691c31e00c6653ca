"""Are synthetic weights as fast as real ones? Interleaved pairs, per-pair ratios, 95 % bootstrap interval.

    python benchmarks/synthetic_vs_real.py FILE.gguf      a real Phi file against its synthetic twin
    python benchmarks/synthetic_vs_real.py --fillings     three fillings of one slice against each other

The twin has the file's own tensors: names, shapes and types, so that an older mix is compared with itself.
Every member of a pair is a fresh `phibench run`; which one goes first alternates. Above 1: faster than the first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from phibench import catalog
from phibench.catalog.plans import plan
from phibench.catalog.readers import gguf as reader
from phibench.core import folders, stats
from phibench.core.errors import PhibenchError
from phibench.synth import gguf
from phibench.synth.fill import FILLINGS

SUITE = """
name = "twins"
question = "Are these files equally fast?"
metrics = ["prefill_tps", "decode_tps"]
prompt_tokens = [{prompt}]
new_tokens = [{new}]
repetitions = {repetitions}
[warmup]
windows = 1
max_windows = 1
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a real Phi GGUF file")
    parser.add_argument("--fillings", action="store_true")
    parser.add_argument("--variant", default="phi-4-mini-instruct", help="of the fillings")
    parser.add_argument("--quant", default="Q4_K_M", help="of the fillings")
    parser.add_argument("--layers", type=int, default=8, help="of the fillings")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--new", type=int, default=64)
    args = parser.parse_args()
    if bool(args.file) == args.fillings:
        parser.error("give a real FILE.gguf, or --fillings")
    cache = folders.cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="twins-") as name:
        folder = Path(name)
        suite = folder / "twins.toml"
        suite.write_text(SUITE.format(prompt=args.prompt, new=args.new, repetitions=args.repetitions), encoding="utf-8")
        candidates = fillings(args, folder) if args.fillings else twins(args.file, folder)
        print(table(list(candidates), interleaved(candidates, suite, args.pairs)))


def twins(file: Path, folder: Path) -> dict[str, Path]:
    found = reader.recognise(file)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{found.variant} {found.quantization}: writing the twin", file=sys.stderr)
    gguf.write(found.plan, folder / "twin.gguf")
    return {"real": file, "synthetic": folder / "twin.gguf"}


def fillings(args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    wanted = plan(catalog.variant(args.variant), args.quant, args.layers, fmt="gguf")
    for name in FILLINGS:
        gguf.write(wanted, folder / f"{name}.gguf", name)
    return {name: folder / f"{name}.gguf" for name in FILLINGS}


def interleaved(candidates: dict[str, Path], suite: Path, pairs: int) -> list[dict[str, dict[str, float]]]:
    """Round after round, each candidate once; the order turns so that none is always first."""
    names, rounds = list(candidates), []
    for number in range(pairs):
        turn = number % len(names)
        found = {name: speeds(candidates[name], suite) for name in names[turn:] + names[:turn]}
        rounds.append(found)
        print(f"round {number + 1}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return rounds


def speeds(file: Path, suite: Path) -> dict[str, float]:
    """Tokens per second by test, through the front door in a fresh process."""
    command = [sys.executable, "-m", "phibench", "run", str(suite), "-m", str(file), "-o", "json"]
    command += ["--results", str(suite.parent / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"phibench left with {done.returncode}")
    return {
        f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}": row["avg_ts"]
        for row in json.loads(done.stdout)
    }


def table(names: list[str], rounds: list[dict[str, dict[str, float]]]) -> str:
    """Markdown: each candidate against the first."""
    first, *others = names
    lines = ["| test | ratio | median | 95 % interval | pairs |", "|---|---|---|---|---|"]
    for test in rounds[0][first]:
        for other in others:
            ratios = [found[other][test] / found[first][test] for found in rounds]
            low, high = stats.bootstrap([ratios])
            lines.append(
                f"| {test} | {other} / {first} | {stats.median(ratios):.3f} | {low:.3f} to {high:.3f} | {len(ratios)} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except PhibenchError as error:
        sys.exit(str(error))
