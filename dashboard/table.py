"""Runs -> DataFrame. No Streamlit here; SI units, unless a column's name says otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from pandas.api.types import is_scalar

from phibench.metrics import METRICS
from phibench.nouns import Run
from phibench.render import rows
from phibench.tables import number
from phibench.units import gb

# What the pages and charts use of a row (docs/results.md describes rows); all other keys stay in the files.
_KEYS = (
    "setup", "variant", "quantization", "backend", "device", "options", "test", "weights", "layers", "status",
    "reason", "placement", "evidence", "engine_version", "launches", "contest", "notes", "machine", "cpu_info", "suite",
    "run", "example", "n_threads", "model_filename", "model_size", "test_time", "samples_ns",
)  # fmt: skip
_METRICS = ("prefill_tps", "decode_tps", "ttft_s", "tpot_s", "itl_p50_s", "itl_p90_s", "itl_p99_s",
            "host_peak_bytes")  # fmt: skip
_SPEEDS = ("prefill_tps", "decode_tps")
_ENDS = ("", "_low", "_high", "_spread")
SPREADS = {"range": "range", "interval": "95 % interval"}


def frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One line per test, newest first. An unknown number is NaN; a missing text is None."""
    columns = [*_KEYS, *(name + end for name in _METRICS for end in _ENDS)]
    table = pd.DataFrame([{key: row.get(key) for key in columns} for row in rows(runs)], columns=columns)
    for name in _METRICS:
        for end in _ENDS[:-1]:
            table[name + end] = table[name + end].astype(float)
    table["options"] = [_options(options) for options in table["options"]]
    table["where"] = table["backend"] + "/" + table["device"]
    table["slice"] = [None if pd.isna(layers) else f"{int(layers)} layers" for layers in table["layers"]]
    table["samples"] = [len(ns) if isinstance(ns, list) else None for ns in table["samples_ns"]]
    table["when"] = pd.to_datetime(table["test_time"], utc=True, errors="coerce", format="ISO8601")
    return table.drop(columns="samples_ns").sort_values("when", ascending=False, kind="stable", ignore_index=True)


def _options(options: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in (options or {}).items())


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
    return list(table.loc[table[metric].notna(), "test"].value_counts(sort=True).index)


def latest(table: pd.DataFrame, metric: str, test: str) -> pd.DataFrame:
    """The newest line of each setup that has the metric in this test, with a ``label`` that tells them apart."""
    table = table[(table["test"] == test) & table[metric].notna()]
    same = ["machine", "setup", "n_threads", "weights", "slice", "example"]
    newest = table.drop_duplicates(same).copy()
    newest["label"] = _labels(newest)
    return newest


def _labels(table: pd.DataFrame) -> list[str]:
    """Variant and quantization, and whatever else varies between the lines."""
    varied = [c for c in ("where", "options", "weights", "slice", "machine") if table[c].nunique(dropna=False) > 1]
    threads = table["n_threads"].nunique(dropna=False) > 1
    labels = []
    for line in table.to_dict("records"):
        words = [line["variant"], line["quantization"], *(line[c] for c in varied if isinstance(line[c], str))]
        words += [f"{int(line['n_threads'])} threads"] if threads and pd.notna(line["n_threads"]) else []
        words += ["example"] if line["example"] else []
        labels.append(" ".join(filter(None, words)))
    return labels


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table of tests as people read it: gaps in ms, memory in GiB, the spread of the speeds in words."""
    lines = table.copy()
    lines["peak_gib"] = lines["host_peak_bytes"] / 2**30
    for name in ("itl_p50", "itl_p99"):
        lines[f"{name}_ms"] = lines[f"{name}_s"] * 1e3
    found = [[spread(line, name) for name in _SPEEDS] for line in lines.to_dict("records")]
    lines["spread"] = ["; ".join(filter(None, texts)) or None for texts in found]
    return lines


def spread(line: Any, name: str) -> str | None:
    """``11.9–12.8 (range)``: the lowest and highest repetition, or the 95 % interval over several launches."""
    low, high, kind = (line[name + end] for end in ("_low", "_high", "_spread"))
    if pd.isna(low) or pd.isna(high):
        return None
    return f"{number(low)}–{number(high)} ({SPREADS.get(kind, kind)})"


def provenance(line: Any) -> dict[str, str | None]:
    """Where one line came from, as names and texts; None is not known."""
    known: dict[str, Any] = {key: None if is_scalar(v) and pd.isna(v) else v for key, v in line.items()}
    speeds = [f"{METRICS[n].title} {number(known[n])} tok/s, {spread(line, n)}" for n in _SPEEDS if known[n]]
    count, launches = known["samples"], known["launches"]
    size = gb(known["model_size"]) if known["model_size"] else None
    return {
        "Result": "; ".join(filter(None, (*speeds, known["reason"]))) or None,
        "Repetitions": f"{count:g} in {launches:g} launch{'es' if launches != 1 else ''}" if count else None,
        "Engine": _joined(" ", known["backend"], known["engine_version"]),
        "Ran on": known["placement"],
        "Proof": "; ".join(known["evidence"] or ()) or None,
        "Threads": f"{known['n_threads']:g}" if known["n_threads"] else None,
        "Options": known["options"] or "default",
        "Model": _joined(", ", known["model_filename"], size, known["slice"]),
        "Weights": known["weights"],
        "Machine": known["cpu_info"],
        "Run": f"{known['run']}, suite {known['suite']}",
        "Notes": "; ".join(known["notes"]) or None,
    }


def _joined(between: str, *words: str | None) -> str | None:
    return between.join(word for word in words if word) or None
