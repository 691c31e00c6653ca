"""Predicted against measured memory of Phi-4-mini: llama.cpp, ONNX Runtime and torch, as a table in Markdown.

    python benchmarks/memory.py RESULTS [--only torch] [--context 2k,8k,32k] [--batches 1] [--keep]

Every setup is measured by ``phibench run memory``, each test in a process of its own: room for so many tokens, a prompt
of 512, 16 new ones. What does not fit says why. RESULTS is a folder: a setup whose rows are there already is not
measured again, so an interrupted benchmark goes on. Synthetic files that it wrote are deleted after their setup
(``--keep``: not). Other programs on the machine make it slower, not wrong. 40 minutes on 2 cores, 16 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from phibench import catalog
from phibench.backends import llama_cpp
from phibench.backends.llama_cpp import plan as llama_plan
from phibench.catalog.plans import plan
from phibench.core import units
from phibench.core.nouns import Workload
from phibench.show import tables
from phibench.synth import cache

VARIANT = "phi-4-mini-instruct"
GRID = {
    "llama_cpp": ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"),
    "onnxruntime": ("int4", "int8", "fp32"),
    "torch": ("bf16", "int8", "int4", "fp32"),
}
Row = dict[str, Any]


def measure(file: Path, backend: str, quantization: str, flags: Sequence[str]) -> None:
    """One setup through the front door; its rows go to ``file``. Exit code 1 only says that a row has failed."""
    command = ["run", "memory", "-m", VARIANT, "-b", backend, "-q", quantization, *flags]
    outputs = ["-o", "json", "--out", str(file), "--results", str(file.parent / "runs")]
    code = subprocess.run([sys.executable, "-m", "phibench", *command, *outputs], check=False).returncode
    if code not in (0, 1):
        sys.exit(code)


def compared(rows: Sequence[Row]) -> Iterator[Row]:
    """What the table shows of each row of results; a ratio is measured / predicted."""
    for row in rows:
        said = row["predicted"] or {}
        found: Row = {key: row[key] for key in ("backend", "quantization", "batch", "reason")} | {"room": row["room"]}
        for name in ("peak", "needed"):
            predicted, seen = said.get(f"{name}_bytes"), row[f"host_{name}_bytes"]
            found |= {f"{name} predicted": predicted, f"{name} measured": seen}
            found[f"{name} ratio"] = seen / predicted if seen and predicted else None
        yield found


def table(found: Sequence[Row]) -> str:
    columns = [
        tables.column("backend"),
        tables.column("quantization", "quant"),
        tables.column("room", "context", units.context, right=True),
        tables.column("batch", right=True),
    ]
    for name in ("peak", "needed"):
        columns += [tables.column(f"{name} {which}", say=_gib, right=True) for which in ("predicted", "measured")]
        columns.append(tables.column(f"{name} ratio", "ratio", "{:.3f}".format, right=True))
    return tables.markdown(found, columns)


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f}"


def worst(found: Sequence[Row], name: str) -> str:
    known = [row for row in found if row[f"{name} ratio"]]
    if not known:
        return f"{name}: nothing measured"
    row = max(known, key=lambda row: abs(row[f"{name} ratio"] - 1))
    where = f"{row['backend']} {row['quantization']} at {units.context(row['room'])}, batch {row['batch']}"
    return f"{name}: worst ratio {row[f'{name} ratio']:.3f} ({where}), {len(known)} tests"


def plans(rows: Sequence[Row]) -> list[Row]:
    """MiB of llama.cpp's buffers: its plan of a file without weights, and what it reported when it ran."""
    found = []
    for row in rows:
        if row["backend"] == "llama_cpp" and row["status"] == "ok" and row["buffers"]:
            work = Workload(prompt_tokens=row["n_prompt"], new_tokens=row["n_gen"], batch=row["batch"],
                            room=row["room"] or 0)  # fmt: skip
            layers = {"layers": row["layers"]} if row["layers"] else {}
            whole = plan(catalog.variant(VARIANT), row["quantization"], **layers, fmt="gguf")
            said = llama_plan.planned(whole, work, llama_cpp.DEFAULTS)
            cells = {use: f"{said[use] / 2**20:.1f} / {row['buffers'][use] / 2**20:.1f}" for use in said}
            found.append({"quant": row["quantization"], "context": units.context(work.room), **cells})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", default="", help="backends or quantizations, with commas")
    parser.add_argument("--context", default="2k,8k,32k")
    parser.add_argument("--batches", default="1")
    parser.add_argument("--layers", default="", help="a slice of so many layers, for a first look")
    parser.add_argument("--keep", action="store_true", help="keep the synthetic files")
    args = parser.parse_args()
    flags = ["--context", args.context, "--batches", args.batches]
    flags += ["--layers", args.layers] if args.layers else []
    only = set(filter(None, args.only.split(",")))
    rows: list[Row] = []
    args.results.mkdir(parents=True, exist_ok=True)
    for backend, quantization in ((b, q) for b, names in GRID.items() for q in names):
        file = args.results / f"{backend}-{quantization}.json"
        if not file.exists() and (not only or only & {backend, quantization}):
            before = {path for path, _, _ in cache.entries()}
            measure(file, backend, quantization, flags)
            for path in () if args.keep else {path for path, _, _ in cache.entries()} - before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        rows += json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    found = list(compared(rows))
    print(table([row for row in found if not row["reason"]]))
    for row in found:
        if row["reason"]:
            print(f"- {row['backend']} {row['quantization']} at {units.context(row['room'])}: {row['reason']}")
    if planned := plans(rows):
        print(
            f"\nllama.cpp, MiB: its plan without weights / what it reported when it ran\n\n{tables.markdown(planned)}"
        )
    print(f"\n{worst(found, 'peak')}\n{worst(found, 'needed')}")


if __name__ == "__main__":
    main()
