"""The Compare page: is B faster than A, slower, or can nobody tell? It says what ``phibench compare`` says."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

import charts
import compare_table
import data
import pandas as pd
import streamlit as st
import widgets

from phibench.compare.comparison import Comparison
from phibench.compare.selection import Selection
from phibench.core.errors import PhibenchError

_COLUMNS: dict[str, Any] = {
    "verdict": st.column_config.MultiselectColumn(
        "Verdict", options=list(compare_table.VERDICTS.values()), color=["blue", "orange", "gray", "gray"], width=130
    ),
    "test": "Test",
    "figure": "Figure",
    "a": "A",
    "b": "B",
    "says": st.column_config.TextColumn("B is", width="large"),
    "pairs": "Pairs",
    "setup": "Setup",
    "suite": "Suite",
}


def page() -> None:
    st.title("Compare")
    runs, skipped = data.runs()
    widgets.skipped(skipped)
    if not runs:
        widgets.nothing_yet(data.folder())
        return
    choices = {name: sides(runs) for name, sides in compare_table.KINDS.items()}
    kinds = {name: sides for name, sides in choices.items() if len(sides) > 1}
    if not kinds:
        st.info("There is only one run of one setup. Measure another, then reload this page.")
        return
    kind = st.segmented_control(
        "What", list(kinds), default=next(iter(kinds)), required=True, label_visibility="collapsed"
    )
    a, b = _chosen(kind, kinds[kind])
    try:
        found = data.comparison(a, b)
    except PhibenchError as error:
        st.info(widgets.escape(str(error)))
        return
    _judged(compare_table.frame(found.rows))
    _around(found, a, b)


def _chosen(kind: str, sides: Mapping[str, Selection]) -> tuple[Selection, Selection]:
    """A and B, newest first; B starts at the newest, A at the one before."""
    row = st.container(horizontal=True)
    names = list(sides)
    first = row.selectbox("A", names, 1, key=f"a {kind}", width=420)
    others = [name for name in names if name != first]
    second = row.selectbox("B", others, key=f"b {kind}", width=420)
    return sides[first], sides[second]


def _judged(lines: pd.DataFrame) -> None:
    counts = Counter(lines["verdict"])
    said = (f"{name} {counts[name]}" for name in compare_table.VERDICTS.values() if counts[name])
    st.subheader(f"B against A: {', '.join(said)}", anchor=False)
    judged = lines[lines["low"].notna()]
    if len(judged):
        st.altair_chart(charts.changes(judged, widgets.theme()), width="stretch")
        st.caption("The median of the pairs, and the 98 % interval of what it could be")
        if len(judged) > charts.MOST:
            st.caption(f"The first {charts.MOST} of {len(judged)} figures; all are in the table.")
    order = [name for name in _COLUMNS if name not in ("setup", "suite") or lines[name].nunique() > 1]
    st.dataframe(lines[order], column_config=_COLUMNS, hide_index=True, placeholder="–")


def _around(found: Comparison, a: Selection, b: Selection) -> None:
    st.markdown("\n".join(f"- {widgets.escape(note)}" for note in found.notes))
    st.markdown("The same in a terminal:")
    st.code(f"phibench compare {shlex.quote(a.text)} {shlex.quote(b.text)}", language=None, wrap_lines=True)


page()
