"""Memory that is predicted, against memory that models really need here: median, 90th percentile, bias, coverage.

    python benchmarks/accuracy/needed.py FOLDER [--only REGEX] [--show]

Every cell is a setup, measured through the front door by ``phibench run memory`` with room for 2,048 and 8,192 tokens:
a prompt of 256 tokens, 4 new ones, each test in a process of its own. Its rows are a file in FOLDER, so that a grid
that was cut off goes on; ``--show`` measures nothing. What is predicted is asked anew each time, not read from the
files. Large variants are slices of true widths. Other programs make it slower, not wrong. Files of a cell are deleted
after it. About 45 minutes on two cores, 8 GB of disk. See also benchmarks/memory.py: one variant, up to 32k tokens.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from phibench import backends, catalog, synth
from phibench.core import stats
from phibench.core.nouns import Workload
from phibench.predict import memory
from phibench.probe.system import page_cache
from phibench.synth import cache

Row = dict[str, Any]
GGUF = ("Q4_K_M", "Q8_0", "Q6_K", "Q4_0", "IQ4_XS", "Q3_K_M")
BUILDS = {"llama_cpp": GGUF, "onnxruntime": ("int4", "int8"), "torch": ("bf16", "int8", "int4")}
LAYERS = {"phi-1.5": None, "phi-4-mini-instruct": None, "phi-2": None, "phi-4": 10, "phi-3.5-mini-instruct": None}
KV = ("-ctk", "q8_0", "-ctv", "q8_0")
FIGURES = 1 << 20


class Cell(NamedTuple):
    variant: str
    backend: str
    quantization: str
    layers: int | None
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "-".join((self.variant, self.backend, self.quantization, *(f.strip("-") for f in self.flags)))


def cells() -> Iterator[Cell]:
    """Engines take turns, small variants come first: a grid that is cut off has something of each."""
    for variant, layers in LAYERS.items():
        for rank in range(max(map(len, BUILDS.values()))):
            for backend, builds in BUILDS.items():
                for quantization in builds[rank : rank + 1]:
                    yield Cell(variant, backend, quantization, layers)
        yield Cell(variant, "llama_cpp", "Q4_K_M", layers, KV)
        yield Cell(variant, "llama_cpp", "Q4_K_M", layers, ("-fa", "off"))
    for backend in BUILDS:
        yield Cell("phi-4-mini-instruct", backend, BUILDS[backend][0], 8, ("--batches", "4"))


def measure(cell: Cell, file: Path) -> None:
    command = ["run", "memory", "-m", cell.variant, "-b", cell.backend, "-q", cell.quantization, *cell.flags]
    command += ["-pg", "256,4", "--context", "2k,8k", *(() if "--batches" in cell.flags else ("--batches", "1"))]
    command += ["--layers", str(cell.layers)] if cell.layers else []
    outputs = ["-o", "json", "--out", str(file), "--results", str(file.parent / "runs")]
    before = {path for path, _, _ in cache.entries()}
    fmt = backends.load(cell.backend).FORMATS[0]
    made = synth.ensure(catalog.variant(cell.variant), cell.quantization, fmt, cell.layers).path
    if made and cell.backend == "onnxruntime":  # of a file that was just written a row brings up to 1.1 MiB along
        page_cache.prepare(Path(made), "cold")
    subprocess.run([sys.executable, "-P", "-m", "phibench", *command, *outputs], check=False, stdout=subprocess.DEVNULL)
    for path in {path for path, _, _ in cache.entries()} - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def scored(row: Row) -> Row | None:
    """Ratios measured / predicted as the arithmetic is now; None where nothing was measured."""
    seen = row.get("host_needed_bytes")
    if row["status"] != "ok" or not seen:
        return None
    backend = backends.load(row["backend"])
    variant = catalog.variant(row["variant"])
    plan = backends.plan(backend, variant, row["quantization"], row["layers"])
    work = Workload(prompt_tokens=row["n_prompt"], new_tokens=row["n_gen"], batch=row["batch"], room=row["room"] or 0)
    assert variant.shape is not None
    options = {**backend.DEFAULTS, **row["options"]}
    need = backend.need(plan, variant.shape, work.context, options, work.prompt_tokens, work.batch, work.used)
    low, high = memory.bounds(need)
    return {
        **{key: row[key] for key in ("backend", "variant", "quantization", "batch", "room", "layers", "options")},
        "seen": seen, "predicted": need.total_bytes, "error": need.total_bytes / seen - 1,
        "held": low <= seen <= high, "safe": seen <= high, "width": high / low,
        "peak_error": need.peak_bytes / row["host_peak_bytes"] - 1 if row.get("host_peak_bytes") else None,
    }  # fmt: skip


def told(name: str, rows: Sequence[Row]) -> str:
    errors = [row["error"] for row in rows]
    sizes = [abs(error) for error in errors]
    held, safe = (sum(row[key] for row in rows) / len(rows) for key in ("held", "safe"))
    return (
        f"{name:12} {len(rows):3} tests"
        f"  median error {stats.median(sizes):5.1%}  p90 {stats.percentile(sizes, 0.9):5.1%}"
        f"  bias {stats.median(errors):+5.1%}  inside {held:4.0%}  below high {safe:4.0%}"
        f"  high/low {stats.median([row['width'] for row in rows]):.2f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", type=re.compile, default=re.compile(""), help="cells whose name has this")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for cell in cells():
        file = asked.folder / f"{cell.name}.json"
        if not file.exists() and not asked.show and asked.only.search(cell.name):
            measure(cell, file)
            print(cell.name, "" if file.exists() else "FAILED", file=sys.stderr, flush=True)
        rows += json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    by_backend: dict[str, list[Row]] = defaultdict(list)
    for found in filter(None, map(scored, rows)):
        by_backend[found["backend"]].append(found)
        options = "&".join(f"{k}={v}" for k, v in found["options"].items() if k in ("type_k", "flash_attn"))
        print(
            f"{found['backend']:12} {found['variant']:22} {found['quantization']:7} {found['layers'] or '':3} "
            f"{found['room']:6} x{found['batch']}  seen {found['seen'] / FIGURES:8.0f}  "
            f"predicted {found['predicted'] / FIGURES:8.0f} MiB {found['error']:+6.1%}  "
            f"{'in ' if found['held'] else 'OUT'}  {options}"
        )
    print()
    for name, of_backend in by_backend.items():
        print(told(name, of_backend))
    if everything := [row for of_backend in by_backend.values() for row in of_backend]:
        print(told("all", everything))
        return int(stats.median([abs(row["error"]) for row in everything]) > MOST)
    return 1


MOST = 0.03  # median error that is asked for


if __name__ == "__main__":
    sys.exit(main())
