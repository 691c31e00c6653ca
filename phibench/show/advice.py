"""Verdicts as text: a table with its reasons for people, Markdown, or the JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from phibench.advise import recommend
from phibench.core import units
from phibench.core.nouns import Goal, Machine, Verdict
from phibench.core.text import wrap
from phibench.show import tables

_COLUMNS = (
    tables.column("rank", "#", right=True),
    tables.column("setup", "setup"),
    tables.column("verdict", "fits"),
    tables.column("quality", "quality", rank=2),
    tables.column("decode tok/s", "decode tok/s"),
    tables.column("TTFT", "TTFT", rank=1),
    tables.column("memory", "memory"),
)


def text(
    machine: Machine,
    goal: Goal,
    context: int,
    verdicts: Sequence[Verdict],
    top: int | None,
    output: str,
    width: int | None = None,
    *,
    hints: bool = True,
) -> str:
    """The ``top`` variants (None: every candidate): ``table`` or ``md``, the ``json`` document, or one flat row each.

    A table has colour where a width is given. ``hints``: say which engines are still to be installed.
    """
    if output == "json":
        document = recommend.to_json(machine, goal, context, verdicts, top)
        return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"
    if output in ("csv", "jsonl", "sql"):
        found = flat_rows(machine, goal, context, verdicts, top)
        return tables.text(found, output, name="phibench_recommend")
    rows, everywhere = _shortened(recommend.table_rows(verdicts, top), recommend.shown(verdicts, top))
    caption = f"Goal {goal.id}: {_workload(goal)}, context {units.context(context)}, on {machine.name}{everywhere}"
    notes = [*_reasons(rows), recommend.LEGEND, *(recommend.hints(verdicts) if hints else ())]
    if output == "md":
        lines = [f"- {tables.markdown_text(note)}" for note in notes]
        return "\n".join([tables.markdown_text(caption), "", tables.markdown(rows, _COLUMNS), *lines]) + "\n"
    drawn = tables.draw(rows, _COLUMNS, width, caption, color=width is not None and tables.wants_color())
    return "\n".join([drawn, *(part for note in notes for part in wrap(note, width))]) + "\n"


def flat_rows(
    machine: Machine, goal: Goal, context: int, verdicts: Sequence[Verdict], top: int | None
) -> list[dict[str, Any]]:
    """The candidates of the JSON document; of an estimate the value stands under the metric, its bounds beside it."""
    rows = []
    for rank, candidate in enumerate(recommend.to_json(machine, goal, context, verdicts, top)["candidates"], start=1):
        where = {"goal": goal.id, "context": context, "machine": machine.name, "rank": rank}
        rest = {key: value for key, value in candidate.items() if key != "estimates"}
        estimates: dict[str, Any] = {}
        for metric, estimate in candidate["estimates"].items():
            known = estimate or {}
            estimates[metric] = known.get("value")
            estimates |= {f"{metric}_{part}": known.get(part) for part in ("low", "high", "basis", "because")}
        rows.append({**where, **rest, **estimates})
    return rows


def _shortened(rows: list[dict[str, str]], verdicts: Sequence[Verdict]) -> tuple[list[dict[str, str]], str]:
    """What all setups end with, said once: ``variant:quantization`` in the rows, `` with llama_cpp/cpu`` above."""
    places = {verdict.setup.place for verdict in verdicts}
    if len(places) != 1:
        return rows, ""
    short = [{**row, "setup": verdict.setup.model} for row, verdict in zip(rows, verdicts, strict=True)]
    return short, f", with {places.pop()}"


def _workload(goal: Goal) -> str:
    return f"{goal.prompt_tokens} prompt tokens, {goal.new_tokens} new tokens"


def _reasons(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Why a row is no, or not known: below the table, where a sentence has room."""
    return [f"{row['rank']} {row['setup']}: {row['why']}" for row in rows if row["why"]]
