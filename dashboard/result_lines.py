"""Tables -> points of lines: speed over the number of sequences, speed over time. No Streamlit here."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import results_table

from phibench.analysis import sustained
from phibench.analysis.batch_scaling import knee
from phibench.core.nouns import Measured, Run


def shapes(lines: pd.DataFrame, metric: str) -> list[str]:
    """Tests that ran with several batches and have this metric, the most common first."""
    return list(_in_batches(lines, metric)["shape"].value_counts().index)


def batches(lines: pd.DataFrame, metric: str, shape: str) -> pd.DataFrame:
    """The newest run of each setup that has several batches: a line per batch, ``knee`` where more brings little."""
    found = _in_batches(lines[lines["shape"] == shape], metric)
    newest = found.groupby(results_table.SAME, dropna=False, sort=False)["file"].transform("first")
    found = found[found["file"] == newest].drop_duplicates([*results_table.SAME, "batch"])
    found = found.sort_values("batch", kind="stable", ignore_index=True)
    found = found.assign(label=results_table.labels(found), knee=False)
    for _, curve in found.groupby("label"):
        at = knee(list(zip(curve["batch"], curve[metric], strict=True)))
        if at is not None:
            found.loc[curve.index[at], "knee"] = True
    return found


def _in_batches(lines: pd.DataFrame, metric: str) -> pd.DataFrame:
    known = lines[lines[metric].notna()]
    if known.empty:
        return known
    count = known.groupby([*results_table.SAME, "file", "shape"], dropna=False)["batch"].transform("nunique")
    return known[count > 1]


def over_time(run: Run, setup: str, test: str, layers: str | None) -> pd.DataFrame:
    """Speed over time in every window of one line: ``window``, ``at_s``, ``tps``, and ``change`` where it changes."""
    found = []
    for window, points in enumerate(_windows(run, setup, test, layers)):
        moments = [change.at_s for change in sustained.changes(points)]  # each lies between two points
        before_s = [0.0, *(point.at_s for point in points)]
        for last_s, point in zip(before_s, points, strict=False):
            changed = any(last_s < at_s < point.at_s for at_s in moments)
            found.append({"window": window, "at_s": point.at_s, "tps": point.tps, "change": changed})
    return pd.DataFrame(found, columns=["window", "at_s", "tps", "change"])


def _windows(run: Run, setup: str, test: str, layers: str | None) -> Iterator[list[sustained.Point]]:
    for r in run.results:
        if not isinstance(r, Measured):
            continue
        if (str(r.setup), str(r.workload), results_table.layers(r)) == (setup, test, layers):
            yield from sustained.curves(r)
