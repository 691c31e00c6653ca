"""What llama-bench and llama-batched-bench print, in every form of theirs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakes
from mutate import Tree

from phibench.core.nouns import Measured, Run
from phibench.imports import importer
from phibench.imports.translate import ImportRequest
from readers.oracles import Reader, follows, noun, told

_HERE = fakes.machine(name="here")


def _bench(**fields: Any) -> dict[str, Any]:
    """A row as build 5163 printed it, with the figures that follow from its samples."""
    row: dict[str, Any] = {
        "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "AMD EPYC 9B14", "gpu_info": "",
        "backends": "CPU",
        "model_filename": "models/Phi-4-mini-instruct-Q4_K_M.gguf", "model_type": "phi3 3B Q4_K - Medium",
        "model_size": 2485589376, "model_n_params": 3836021856, "n_batch": 2048, "n_ubatch": 512, "n_threads": 2,
        "cpu_mask": "0x0", "cpu_strict": False, "poll": 50, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 99,
        "split_mode": "layer", "main_gpu": 0, "no_kv_offload": False, "flash_attn": False, "tensor_split": "0.00",
        "tensor_buft_overrides": "none", "use_mmap": True, "embeddings": False, "n_prompt": 512, "n_gen": 0,
        "n_depth": 0,
        "test_time": "2025-04-24T11:58:50Z", "avg_ns": 0, "stddev_ns": 81649658, "avg_ts": 0.0, "stddev_ts": 0.290485,
        "samples_ns": [11_900_000_000, 12_000_000_000, 12_100_000_000], "samples_ts": [],
    } | fields  # fmt: skip
    speeds = [round(1e9 * (row["n_prompt"] + row["n_gen"]) / ns, 6) for ns in row["samples_ns"]]
    return row | {"avg_ns": round(sum(row["samples_ns"]) / len(speeds)), "samples_ts": speeds,
                  "avg_ts": round(sum(speeds) / len(speeds), 6)}  # fmt: skip


_ROWS = (_bench(), _bench(n_prompt=0, n_gen=128, samples_ns=[10_000_000_000, 10_400_000_000]),
         _bench(n_prompt=0, n_gen=128, n_depth=4096, samples_ns=[13_000_000_000]))  # fmt: skip
_MD = """| model                          |       size |     params | backend    | threads |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: | --------------: | -------------------: |
| phi3 3B Q4_K - Medium          |   2.31 GiB |     3.84 B | CPU        |       2 |           pp512 |         42.67 ± 0.29 |
| phi3 3B Q4_K - Medium          |   2.31 GiB |     3.84 B | CPU        |       2 |           tg128 |         12.55 ± 0.24 |

build: 8cf427ff (5163)
"""  # noqa: E501


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """As csv and sql have it: no samples, switches as 0 and 1."""
    return {key: int(value) if isinstance(value, bool) else value for key, value in row.items()
            if not key.startswith("samples_")}  # fmt: skip


def _benches() -> list[Tree]:
    table, stream = [_plain(row) for row in _ROWS], io.StringIO()
    writer = csv.DictWriter(stream, list(table[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    columns = ", ".join(table[0])
    sql = "CREATE TABLE IF NOT EXISTS llama_bench (\n" + ",\n".join(f"  {key} TEXT" for key in table[0]) + "\n);\n\n"
    for row in table:
        values = ", ".join(f"'{value}'" for value in row.values())
        sql += f"INSERT INTO llama_bench ({columns}) VALUES ({values});\n"
    forms = {"json": json.dumps(_ROWS, indent=2), "jsonl": "".join(json.dumps(row) + "\n" for row in _ROWS)}
    rare = {"csv": stream.getvalue(), "md": _MD, "sql": sql}
    return [{f"bench.{form}": text.encode()} for form, text in (*forms.items(), *forms.items(), *rare.items())]


def _batched(batch: int) -> dict[str, Any]:
    row = {"n_kv_max": 4096, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0, "n_gpu_layers": -1,
           "n_threads": 2, "n_threads_batch": 2, "pp": 128, "tg": 32, "pl": batch, "n_kv": 160 * batch}  # fmt: skip
    seconds, step = 3.2 * batch, 1.0 + batch
    return row | {"t_pp": seconds, "speed_pp": 128 * batch / seconds, "t_tg": step, "speed_tg": 32 * batch / step,
                  "t": seconds + step, "speed": 160 * batch / (seconds + step)}  # fmt: skip


def _taken(folder: Path, **asked: str) -> tuple[tuple[Run, ...], list[str]] | None:
    results = folder.parent / "results"
    shutil.rmtree(results, ignore_errors=True)
    notes: list[str] = []
    file = next((file for file in sorted(folder.iterdir()) if file.name.startswith("b")), folder / "bench.json")
    return importer.run_import(file, ImportRequest(machine=_HERE, **asked), results, notes.append), notes


def _bench_runs(folder: Path) -> Any:
    return _taken(folder)


def _batched_runs(folder: Path) -> Any:
    return _taken(folder, variant="phi-4-mini-instruct", quantization="Q4_K_M", device="cpu")


def _read_rows(tree: Tree) -> list[dict[str, Any]]:
    """Every row that another program would find in it."""
    (content,) = [one for one in tree.values() if isinstance(one, bytes)] or [b""]
    text = content.decode("utf-8", "ignore")
    found, at, decoder = list[dict[str, Any]](), 0, json.JSONDecoder()
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        found.append(value)
        at = end
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < 1e300


def _contradicts(row: dict[str, Any]) -> bool:
    """Whether figures of one row that follow from one another do not (llama-bench.cpp, get_ts and avg)."""
    samples = row.get("samples_ns")
    tokens = sum(row.get(key, 0) for key in ("n_prompt", "n_gen") if _is_number(row.get(key)))
    if not (isinstance(samples, list) and samples and all(map(_is_number, samples)) and min(samples) > 0 and tokens):
        return False
    off = [sum(samples) / len(samples) / row["avg_ns"]] if _is_number(row.get("avg_ns")) and row["avg_ns"] else []
    rates = [1e9 * tokens / ns for ns in samples]
    if _is_number(row.get("avg_ts")):
        off += [sum(rates) / len(rates) / row["avg_ts"]] if row["avg_ts"] else []
    return any(not 0.9 <= one <= 1.1 for one in off)


def _batch_contradicts(row: dict[str, Any]) -> bool:
    keys = ("pp", "tg", "pl", "t_pp", "t_tg")
    if not all(_is_number(row.get(key)) for key in keys):
        return False
    pp, tg, pl, t_pp, t_tg = (row[key] for key in keys)
    prompts = pl if row.get("is_pp_shared") in (None, 0, "0") else 1  # some print it in quotes
    due = {
        "t": t_pp + t_tg,
        "speed_pp": prompts * pp / t_pp if t_pp else None,
        "speed_tg": pl * tg / t_tg if t_tg else None,
    }
    return any(
        value and _is_number(row.get(key)) and row[key] and not 0.9 <= row[key] / value <= 1.1
        for key, value in due.items()
    )


def _check(tree: Tree, answer: Any) -> Iterator[str]:
    runs, notes = answer
    known = told(tree)
    rows = _read_rows(tree)
    for run in runs:
        yield from noun(run)
        for result in run.results:
            assert isinstance(result, Measured)
            work = result.workload
            for number in (work.prompt_tokens, work.new_tokens, work.depth):
                yield from follows("a test's tokens", number, known | {0.0})
            yield from follows("threads", result.threads, known)
            yield from follows("batch", work.batch, known | {1.0})
            if not result.samples:
                yield "a result without samples"
            for sample in result.samples:
                (seconds,) = sample.arrivals_s
                if not 0 < seconds < 1e9:
                    yield "no such time"
                if not any(file.endswith(".md") for file in tree):  # a table tells speeds alone
                    yield from follows("a time", seconds, known, 1, 1e-9)
                told_by = [
                    r
                    for r in rows
                    if seconds in (r.get("t_pp"), r.get("t_tg"))
                    or any(_is_number(ns) and ns / 1e9 == seconds for ns in (r.get("avg_ns"), *_list(r)))
                ]
                wrong = [r for r in told_by if _contradicts(r) or _batch_contradicts(r)]
                if wrong and len(wrong) == len(told_by) and not (result.notes or len(notes) > 1):
                    yield "figures that contradict one another are taken without a word"


def _list(row: dict[str, Any]) -> list[Any]:
    found = row.get("samples_ns")
    return found if isinstance(found, list) else []


_HARMLESS = frozenset({"keys reordered", "extra key", "written on one line"})
READERS = (
    Reader("llama-bench", _benches, _bench_runs, _check),
    Reader("llama-batched-bench", lambda: [{"batched.jsonl": "".join(
        json.dumps(_batched(batch)) + "\n" for batch in (1, 2, 4)).encode()}], _batched_runs, _check),
)  # fmt: skip
