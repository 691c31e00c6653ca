"""Runs -> DataFrame. No Streamlit here; SI units, unless a column's name says otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.api.types import is_scalar

from phibench.core import amounts
from phibench.core.metrics import CLAIMED, METRICS
from phibench.core.nouns import Measured, Row, Run
from phibench.core.text import number
from phibench.core.units import gb, gib
from phibench.show.formats import flat
from phibench.show.results import rows

# What the pages and charts use of a row (docs/results.md describes rows); all other keys stay in the files.
_KEYS = (
    "setup", "variant", "quantization", "backend", "device", "test", "batch", "n_prompt", "n_gen", "n_depth",
    "weights", "layers", "reason", "placement", "evidence", "engine_version", "launches", "contest", "notes",
    "machine", "cpu_info", "suite", "short", "run", "example", "imported", "n_threads", "model_filename", "model_size",
    "test_time",
)  # fmt: skip
_GRID = ("batch", "room", "n_depth", "n_prompt", "n_gen")
_SPEEDS = ("prefill_tps", "decode_tps", "sustained_tps")
_TOLD = (
    "load_cold_s", "load_warm_s", "host_needed_bytes", "host_peak_bytes", "device_peak_bytes", "max_context_tokens",
    "prefill_j_per_token", "decode_j_per_token",
)  # fmt: skip
SAME = ["machine", "setup", "n_threads", "weights", "slice", "kind"]  # newer lines of the same replace older ones
_ENDS = ("_low", "_high")
FULL = "full"  # measured here, by phibench, at a suite's full length
SPREADS = {"range": "range", "interval": "95 % interval"}


def frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One line per test, newest first. An unknown number is NaN; a missing text is None."""
    numbers = dict.fromkeys((*CLAIMED, *(name + end for name in _SPEEDS for end in _ENDS)), float)
    columns = [*_KEYS, *numbers, *(f"{name}_spread" for name in _SPEEDS)]
    lines = [_line(row, columns) for row in rows(runs)]
    table = pd.DataFrame(lines, columns=[*columns, *_DERIVED]).astype(numbers).copy()  # of one piece
    table["when"] = pd.to_datetime(table["test_time"], utc=True, errors="coerce", format="ISO8601")
    return table.sort_values("when", ascending=False, kind="stable", ignore_index=True)


def _line(row: Row, columns: Iterable[str]) -> dict[str, Any]:
    known = flat(row)
    return {key: known.get(key) for key in columns} | {name: made(row) for name, made in _DERIVED.items()}


def layers(result: Measured) -> str | None:
    """The column ``slice`` of a result's line."""
    return _slice(result.artifact.layers)


def _slice(layers: int | None) -> str | None:
    return f"{layers} layers" if layers else None


def file(run: Run) -> str:
    """The column ``file`` of a run's lines."""
    return f"{run.machine.slug}/{run.id}-{run.suite.name}"


def _bytes(uses: Mapping[str, int]) -> str | None:
    """``weights 2.31 GiB, kv 0.25 GiB``"""
    return ", ".join(f"{name.replace('_', ' ')} {gib(count)}" for name, count in uses.items()) or None


def _kind(run: Run) -> str:
    """What keeps a figure from being a full measurement by phibench, here."""
    marks = ("example" if run.example else "", f"from {run.imported_tool}" if run.imported_tool else "",
             "short" if run.suite.short else "")  # fmt: skip
    return ", ".join(filter(None, marks)) or FULL


_DERIVED: dict[str, Callable[[Row], Any]] = {
    "options": lambda row: " ".join(f"{key}={value}" for key, value in dict(row.setup.options).items()),
    "buffers": lambda row: _bytes(row.buffers),
    "memory": lambda row: _bytes(row.memory),
    "predicted_peak_bytes": lambda row: row.predicted.peak_bytes if row.predicted else math.nan,
    "energy": lambda row: row.energy_sources,
    "room": lambda row: row.workload.room,
    "kind": lambda row: _kind(row.run),
    "status": lambda row: row.outcome,
    "why": lambda row: row.why,
    "knees": lambda row: {note.metric: note.text for note in row.notes if note.kind == "knee"},
    "shape": lambda row: str(row.workload.single),
    "watched": lambda row: "host_needed_bytes" in row.metrics,  # the suite asks what memory is for
    "file": lambda row: file(row.run),
    "where": lambda row: f"{row.setup.backend}/{row.setup.device}",
    "doubts": lambda row: "; ".join(row.run.warnings) or None,
    "slice": lambda row: _slice(row.layers),
    "samples": lambda row: len(row.llama_bench["samples_ns"]) if row.llama_bench["samples_ns"] else None,
}


def choose(table: pd.DataFrame, **wanted: Iterable[str]) -> pd.DataFrame:
    """The lines whose column is one of the wanted values; nothing wanted means all."""
    for column, values in wanted.items():
        if values := list(values):
            table = table[table[column].isin(values)]
    return table


def values(table: pd.DataFrame, column: str) -> list[str]:
    """Each value of a column once, sorted; for the choices of a filter."""
    return sorted(table[column].dropna().unique())


def tests(table: pd.DataFrame, metric: str) -> list[str]:
    """Tests that have this metric, the most common first: what a chart may show side by side."""
    same = table[table[metric].notna()].groupby("test", sort=False)
    counted = same[list(_GRID)].first().assign(count=-same.size())
    return list(counted.sort_values(["count", *_GRID]).index)


def latest(table: pd.DataFrame, metric: str, test: str) -> pd.DataFrame:
    """The newest line of each setup that has the metric in this test, with a ``label`` that tells them apart."""
    table = table[(table["test"] == test) & table[metric].notna()]
    newest = table.drop_duplicates(SAME).copy()
    newest["label"] = labels(newest)
    return newest


def labels(table: pd.DataFrame) -> list[str]:
    """Variant and quantization, and whatever else varies between the lines; what is no full measurement says so."""
    columns = ("where", "options", "weights", "slice", "machine")
    varied = [c for c in columns if table[c].nunique(dropna=False) > 1]
    threads = table["n_threads"].nunique(dropna=False) > 1
    found = []
    for line in table.to_dict("records"):
        words = [line["variant"], line["quantization"], *(line[c] for c in varied if isinstance(line[c], str))]
        words += [f"{int(line['n_threads'])} threads"] if threads and pd.notna(line["n_threads"]) else []
        words += [f"({line['kind']})"] if line["kind"] != FULL else []
        found.append(" ".join(filter(None, words)))
    return found


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table of tests as people read it: gaps in ms, memory in GiB, the spread of the speeds in words."""
    lines = table.copy()
    for name in ("host_needed", "host_peak", "device_peak"):
        lines[f"{name}_gib"] = lines[f"{name}_bytes"] / 2**30
    for name in ("itl_p50", "itl_p99"):
        lines[f"{name}_ms"] = lines[f"{name}_s"] * 1e3
    found = [[spread(line, name) for name in _SPEEDS] for line in lines.to_dict("records")]
    lines["spread"] = ["; ".join(filter(None, texts)) or None for texts in found]
    return lines


def spread(line: Any, name: str) -> str | None:
    """``11.9–12.8 (range)``: the lowest and highest repetition, or the 95 % interval over several launches."""
    low, high, kind = (line[name + end] for end in (*_ENDS, "_spread"))
    if pd.isna(low) or pd.isna(high) or number(low) == number(high):
        return None
    return f"{number(low)}–{number(high)} ({SPREADS.get(kind, kind)})"


def provenance(line: Any) -> dict[str, str | None]:
    """Where one line came from, as names and texts; None is not known."""
    known: dict[str, Any] = {key: None if is_scalar(v) and pd.isna(v) else v for key, v in line.items()}
    values = [
        _joined(", ", f"{METRICS[name].title} {amount(name, known[name])}", _spread(line, name))
        for name in (*_SPEEDS, *_TOLD)
        if known[name] is not None
    ]
    count, launches = known["samples"], known["launches"]
    size = gb(known["model_size"]) if known["model_size"] else None
    facts = {
        "Result": "; ".join(filter(None, (*values, known["reason"]))) or None,
        "Repetitions": f"{count:g} in {launches:g} launch{'es' if launches != 1 else ''}" if count else None,
        "Engine": _joined(" ", known["backend"], known["engine_version"]),
        "Ran on": known["placement"],
        "Proof": "; ".join(known["evidence"] or ()) or None,
        "Threads": f"{known['n_threads']:g}" if known["n_threads"] else None,
        "Options": known["options"] or "default",
        "Model": _joined(", ", known["model_filename"], size, known["slice"]),
        "Weights": known["weights"],
        "Machine": known["cpu_info"],
        "Run": _joined(", ", known["run"], f"suite {known['suite']}", None if known["kind"] == FULL else known["kind"]),
        "Notes": "; ".join(known["notes"]) or None,
    }
    rest = {
        "Doubtful": known["doubts"],
        "Memory, as the engine says": known["buffers"],
        "Memory, as the system has it": known["memory"],
    }
    return facts | {name: text for name, text in rest.items() if text}


def amount(metric: str, value: float) -> str:
    """With its unit: ``2.31 GiB``, ``12.4 s``, ``0.35 J/tok``."""
    unit = METRICS[metric].unit
    return amounts.amount(metric, value, 3) + ("" if unit in ("s", "B") else f" {unit}")


def _spread(line: Any, name: str) -> str | None:
    return spread(line, name) if name in _SPEEDS else None


def _joined(between: str, *words: str | None) -> str | None:
    return between.join(word for word in words if word) or None
