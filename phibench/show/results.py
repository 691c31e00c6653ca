"""Rows of results to text: a table for people, Markdown, CSV, JSON, JSON lines, SQL. Pure functions.

What does not vary between the rows is said once, in the caption; a column is only shown where it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from phibench.core.nouns import Row
from phibench.core.text import number, wrap
from phibench.show import memory_columns
from phibench.show.formats import flat
from phibench.show.outputs import DATA_FORMATS
from phibench.show.result_columns import (
    BACKEND,
    ENGINE,
    NAMED,
    QUANTIZATION,
    RUN,
    SETUP,
    SUBJECT,
    TEST,
    THREADS,
    VARIANT,
    engine_version,
    measures,
    parameters,
    size,
)
from phibench.show.rows import SQL_COLUMNS, rows
from phibench.show.tables import (
    Column,
    draw,
    markdown,
    markdown_text,
)

__all__ = ["FORMATS", "markdown_table", "rows", "table"]


# ------------------------------------------------------------------------------------- what people look at


_SILENT = ("all", "default", "phibench")  # not worth a word in a caption


def _split(rows: Sequence[Row]) -> tuple[list[Column[Row]], dict[str, str]]:
    """The columns that vary, and what to say of those that do not."""
    varied, constant = [], {}
    for subject, say in SUBJECT:
        known = {text for row in rows if (text := subject.cell(row)) is not None}
        if subject is ENGINE and len(known) > 1 and (said := _engines(rows)):
            constant[subject.title] = said
        elif len(known) > 1:
            varied.append(subject)
        elif known and not known & set(_SILENT):
            constant[subject.title] = say(known.pop())
    return varied, constant


def _engines(rows: Sequence[Row]) -> str | None:
    """ "llama_cpp 0.3.36, torch 2.13.0" where each backend has one version, so that they tell no rows apart."""
    versions = {(row.setup.backend, version) for row in rows if (version := engine_version(row))}
    if len({backend for backend, _ in versions}) < len(versions):
        return None
    return ", ".join(f"{backend} {version}" for backend, version in sorted(versions))


def _caption(rows: Sequence[Row], constant: dict[str, str]) -> str:
    """What all rows share: "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu, 2 threads, synthetic weights"."""
    machine = {cpus for row in rows if (cpus := row.llama_bench["cpu_info"])}
    words = dict(constant)
    if len({row.setup for row in rows}) == 1:
        words = {"setup": str(rows[0].setup)} | {k: v for k, v in words.items() if k not in SETUP}
    if "machine" in words and len(machine) == 1:
        words["machine"] = machine.pop()
    if any(row.run.suite.short for row in rows):
        words["short"] = "a short run (--quick)"
    if any(row.run.example for row in rows):
        words["example"] = "an example that comes with phibench"
    return ", ".join(words.values())


def _legend(rows: Sequence[Row]) -> str | None:
    """What the brackets mean."""
    kinds = {spread.kind for row in rows for spread in row.metrics.values() if spread}
    counts = sorted({len(samples) for row in rows if (samples := row.llama_bench["samples_ns"])})
    windows = sorted({row.windows for row in rows if row.windows})
    launches = sorted({row.launches for row in rows if row.launches})
    if not kinds or not counts:
        return memory_columns.LEGEND if memory_columns.columns(rows) else None
    said = {
        "range": f"[lowest..highest] of {_span(counts)} repetition{'s' if counts[-1] > 1 else ''}"
        + (f" in {_span(windows)} window{'s' if windows[-1] > 1 else ''}" if windows else ""),
        "interval": f"[95 % interval] from {_span(launches)} launches",
    }
    brackets = "median " + ", or ".join(said[kind] for kind in ("range", "interval") if kind in kinds)
    return "; ".join(filter(None, (brackets, _sampling(rows))))


def _sampling(rows: Sequence[Row]) -> str | None:
    """What choosing tokens cost: it is part of every time, and llama-bench has none."""
    known = [row.sampling_s / count for row in rows if row.sampling_s and (count := row.workload.new_tokens)]
    return f"argmax {number(1e3 * max(known))} ms of each token" if known else None


def _span(counts: Sequence[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


# --------------------------------------------------------------------------------------------- measures


# ---------------------------------------------------------------------------------------------- formats


def table(rows: Sequence[Row], width: int | None = None, *, color: bool = False) -> str:
    """For people, one for each suite. Failed tests say why below; what the brackets mean stands in the caption."""
    suites = dict.fromkeys(row.run.suite.name for row in rows)
    if len(suites) > 1:
        parts = ((name, [row for row in rows if row.run.suite.name == name]) for name in suites)
        return "\n".join(f"Suite {name}\n{table(some, width, color=color)}" for name, some in parts)
    caption, subject, measures = layout(rows)
    columns = (*subject, *measures)
    notes = [line for note in _footnotes(rows, subject[:-1]) for line in wrap(note, width)]
    return "\n".join([draw(rows, columns, width, caption, color=color), *notes]) + "\n"


def layout(rows: Sequence[Row]) -> tuple[str, tuple[Column[Row], ...], tuple[Column[Row], ...]]:
    """What all rows share and what brackets mean; columns that say which test a row is; columns of its figures."""
    varied, constant = _split(rows)
    caption = "\n".join(filter(None, (_caption(rows, constant), _legend(rows))))
    return caption, (*varied, TEST), tuple(measures(rows, "tok/s"))


def _footnotes(rows: Sequence[Row], varied: Sequence[Column[Row]]) -> list[str]:
    """Reasons and notes with the tests that they belong to, then what speaks against a whole run."""
    said: dict[str, list[str]] = {}
    every: dict[str, None] = {}
    for row in rows:
        name = " ".join(text for c in (*varied, TEST) if (text := c.cell(row)))
        every[name] = None
        for text in filter(None, (row.reason, *(note.text for note in row.notes))):
            said.setdefault(text, []).append(name)
    notes = [f"{_of(names, every)}{text}" for text, names in said.items()]
    several = RUN in varied

    def of_runs(lines: Callable[[Row], Sequence[str]]) -> dict[str, None]:
        return dict.fromkeys(f"run {row.run.id}: {text}" if several else text for row in rows for text in lines(row))

    doubts = of_runs(lambda row: row.run.warnings)
    return [*notes, *of_runs(lambda row: row.contest), *(f"doubtful: {text}" for text in doubts)]


def _of(names: Sequence[str], every: Mapping[str, None]) -> str:
    """``pp512, tg128: ``; of many only the first, and all as a whole."""
    different = list(dict.fromkeys(names))
    if len(different) == len(every) > 1:
        return "every test: "
    more = f" and {len(different) - NAMED} more" if len(different) > NAMED else ""
    return f"{', '.join(different[:NAMED])}{more}: "


def markdown_table(rows: Sequence[Row]) -> str:
    """llama-bench's columns (model, size, params, backend, threads, test, t/s), then ours; facts below."""
    varied, constant = _split(rows)
    always: tuple[Column[Row], ...] = (
        Column(title="model", cell=lambda row: f"{row.setup.variant} {row.setup.quantization}"),
        Column(title="size", cell=size, right=True),
        Column(title="params", cell=parameters, right=True),
        BACKEND,
        THREADS,
    )
    others = [c for c in varied if c not in (VARIANT, QUANTIZATION, BACKEND, THREADS)]
    text = markdown(rows, (*always, *others, TEST, *measures(rows, "t/s")))
    said = filter(None, (_caption(rows, constant), _legend(rows), *_footnotes(rows, varied)))
    return text + "".join(f"\n{markdown_text(line)}\n" for line in said)


def for_programs(rows: Sequence[Row], form: str) -> str:
    """Whole rows in one of DATA_FORMATS. A database gets one table for every run ever: each known column, each time."""
    return DATA_FORMATS[form](list(map(flat, rows)), "phibench", SQL_COLUMNS)


class Form(Protocol):
    """``width`` is the terminal's; only the table asks for it."""

    def __call__(self, rows: Sequence[Row], width: int | None = None, /) -> str: ...


FORMATS: dict[str, Form] = {
    "table": table,
    "md": lambda rows, width=None: markdown_table(rows),  # noqa: ARG005
    **{name: lambda rows, width=None, form=name: for_programs(rows, form) for name in DATA_FORMATS},  # noqa: ARG005
}
