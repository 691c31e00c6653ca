"""The Advice page: which Phi fits this machine for a goal, how we know, and what would settle the rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import advice_table
import charts
import data
import msgspec
import pandas as pd
import streamlit as st
import widgets

from phibench import catalog
from phibench.advise import explain, ranking, rules
from phibench.advise.explain import ROWS_ALONE
from phibench.advise.howto import howtos
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Goal, Machine, Verdict
from phibench.show import advice_notes, howto

_CONTEXTS = tuple(1024 * k for k in (2, 4, 8, 16, 32, 64, 128))
_LIMITS = {"decode_tps": "Decode at least, tok/s", "ttft_s": "First token within, s"}
_HEADLINES = ("decode_tps", "ttft_s", "host_needed_bytes")
_VARIANTS, _ALL = "Best of each variant", "All quantizations"


def page() -> None:
    st.title("Which Phi fits?")
    runs, skipped = data.runs()
    machine = data.machine()
    _machine(machine, sum(r.machine.identity == machine.identity and not r.example for r in runs))
    widgets.skipped(skipped)
    goal, context, min_tps, max_ttft = _question()
    try:
        found = data.advice(goal, context, min_tps, max_ttft)
    except PhibenchError as error:
        st.error(widgets.escape(str(error)))
        return
    _best(goal, found)
    _run_it(machine, msgspec.structs.replace(goal, context=context), found[0])
    _all(found)


def _machine(machine: Machine, measured: int) -> None:
    cpu = machine.device("cpu")
    limits = machine.limits
    words = [
        cpu.name if cpu else machine.arch,
        f"{limits.cpus:g} of {machine.logical_cores} CPUs usable",
        f"{units.gib(limits.memory_bytes)} memory, {units.gib(limits.free_bytes)} free",
        *(f"{d.name} ({d.kind})" for d in machine.devices if d.kind != "cpu"),
    ]
    words += [f"{measured} run{'s' if measured > 1 else ''} here"] if measured else []
    st.caption(widgets.escape(" · ".join(["This machine", *words])))
    if not measured:
        st.markdown("Nothing was measured here yet, so all speeds are estimates. This takes about three minutes:")
        st.code("phibench quickstart", language=None)


def _question() -> tuple[Goal, int, float | None, float | None]:
    """What the user wants: goal, context, least decode speed, longest wait. Limits start at the goal's own."""
    goals = {goal.id: goal for goal in catalog.goals()}
    row = st.container(horizontal=True)
    chosen = row.selectbox("Goal", goals, list(goals).index("chat"), lambda name: goals[name].title, width=400)
    goal = goals[chosen]
    contexts = sorted({*_CONTEXTS, goal.context})
    context = row.selectbox(
        "Context, tokens", contexts, contexts.index(goal.context), units.context, key=f"context {chosen}", width=160
    )
    limits = [
        row.number_input(
            label, 0.1, value=goal.limits.get(metric), step=1.0, format="%g", placeholder="no limit",
            key=f"{metric} {chosen}", width=160,
        )
        for metric, label in _LIMITS.items()
    ]  # fmt: skip
    return goal, context, limits[0], limits[1]


def _best(goal: Goal, found: tuple[Verdict, ...]) -> None:
    verdict = found[0]
    lead = {"yes": "Take", "unknown": "Perhaps", "no": "Nothing fits; nearest is"}[verdict.verdict]
    with st.container(border=True):
        st.markdown(f"### {lead} {_name(verdict)}")
        st.caption(widgets.escape(f"{advice_table.FITS[verdict.level]} · {advice_notes.where(verdict)}"))
        if verdict.verdict == "yes":
            st.markdown(widgets.escape(explain.why(goal, verdict, None, found, ROWS_ALONE)))
        _headlines(verdict)
        _reasons(verdict)


def _run_it(machine: Machine, goal: Goal, verdict: Verdict) -> None:
    """The lines to copy, for each tool that takes what is recommended."""
    found = {one.title: one for one in howtos(machine, goal, verdict)}
    if not found:
        return
    with st.expander("Run it: from nothing installed to the first word"):
        one = found[st.selectbox("With", found, key=f"run {verdict.setup}", width=400)]
        st.code(howto.text([one]), language="powershell" if one.system == "windows" else "bash", wrap_lines=True)
        for note in filter(None, (one.misses, *one.notes)):
            st.caption(widgets.escape(note))


def _name(verdict: Verdict) -> str:
    setup = verdict.setup
    return widgets.escape(f"{catalog.variant(setup.variant).title} {setup.quantization}")


def _headlines(verdict: Verdict) -> None:
    row = st.container(horizontal=True, gap="medium")
    for metric in _HEADLINES:
        if estimate := verdict.estimates.get(metric):
            row.metric(
                advice_table.title(metric), advice_table.headline(metric, estimate), advice_table.BASIS[estimate.basis],
                delta_color=widgets.COLOURS[estimate.basis], delta_arrow="off", width="content",
            )  # fmt: skip


def _reasons(verdict: Verdict) -> None:
    for title, reasons in (("Why not", verdict.objections), ("Not known", tuple(map(str, verdict.unknowns)))):
        if reasons:
            st.markdown(f"**{title}**\n" + "\n".join(f"- {widgets.escape(reason)}" for reason in reasons))


def _all(found: tuple[Verdict, ...]) -> None:
    st.subheader("All candidates, best first", anchor=False)
    row = st.container(horizontal=True)
    scope = row.segmented_control(
        "Candidates", (_VARIANTS, _ALL), default=_VARIANTS, required=True, label_visibility="collapsed"
    )
    candidates = found if scope == _ALL else ranking.shown(found, len(found))
    counts = Counter(advice_table.FITS[v.level] for v in candidates)
    wanted = row.segmented_control(
        "Fits", [name for name in advice_table.FITS.values() if counts[name]], selection_mode="multi",
        format_func=lambda name: f"{name} {counts[name]}", key=f"fits {scope}", label_visibility="collapsed",
    )  # fmt: skip
    shown = [v for v in candidates if not wanted or advice_table.FITS[v.level] in wanted]
    lines = advice_table.frame(shown)
    picked = _table(lines)
    st.caption(
        widgets.LEGEND if picked is not None else f"Select a row for all its numbers and reasons. {widgets.LEGEND}"
    )
    if picked is not None:
        _details(shown[picked])
    _chart(lines)


def _table(lines: pd.DataFrame) -> int | None:
    """The candidates; the number of the selected line, or None."""
    fits = st.column_config.MultiselectColumn(
        "Fits", options=list(advice_table.FITS.values()), color=["green", "blue", "orange", "gray"], width=110
    )
    columns: dict[str, Any] = {
        "fits": fits, "variant": "Variant", "quantization": "Quant", "where": "Backend",
        "answers_text": "Answers", "decode_text": "Decode, tok/s", "ttft_text": "First token", "memory_text": "Memory",
        "quality_text": "Quality, published", "why": st.column_config.TextColumn("Why not", width="large"),
    }  # fmt: skip
    order = [name for name in columns if name != "where" or lines["where"].nunique() > 1]
    event = st.dataframe(
        lines, column_config=columns, column_order=order, hide_index=True, placeholder="–",
        on_select="rerun", selection_mode="single-row",
    )  # fmt: skip
    rows = event["selection"]["rows"]
    return rows[0] if rows else None


def _details(verdict: Verdict) -> None:
    with st.container(border=True):
        st.markdown(f"### {_name(verdict)}")
        _reasons(verdict)
        for metric, estimate in verdict.estimates.items():
            value = widgets.escape(advice_table.amount(metric, estimate) + advice_table.unit(metric))
            st.markdown(
                f"**{advice_table.title(metric)}** {value} "
                f":{widgets.COLOURS[estimate.basis]}-badge[{advice_table.BASIS[estimate.basis]}]  \n"
                f":small[{widgets.escape(estimate.because)}]"
            )
        st.markdown("To measure it here:")
        st.code(rules.command(verdict.setup), language=None, wrap_lines=True)


def _chart(lines: pd.DataFrame) -> None:
    kinds = [kind for kind in ("quality", "memory") if not advice_table.plotted(lines, kind).empty]
    if not kinds:
        return
    st.subheader("Speed against quality or memory", anchor=False)
    kind = st.segmented_control(
        "Against", kinds, format_func=str.capitalize, default=kinds[0], required=True, label_visibility="collapsed"
    )
    points = advice_table.plotted(lines, kind)
    st.altair_chart(charts.trade(points, kind, widgets.theme()), width="stretch")
    st.caption("A full diamond is measured, a ring predicted; lines are 80 % intervals. Colour says whether it fits.")
    if len(points) < len(lines):
        what = f"no {points['benchmark'].iloc[0]} score" if kind == "quality" else "no known memory need"
        left_out = f"{len(lines) - len(points)} of {len(lines)} are not in the chart"
        st.caption(f"{left_out}: {widgets.escape(what)} or no known speed.")


page()
