"""Rows of results to text: a table for people, Markdown, CSV, JSON, JSON lines, SQL. Pure functions.

What does not vary between the rows is said once, in the caption; a column is only shown where it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from phibench.core.metrics import METRICS
from phibench.core.nouns import Row
from phibench.core.text import number, places, wrap
from phibench.core.units import gib
from phibench.show import memory_columns
from phibench.show.formats import flat
from phibench.show.rows import SQL_COLUMNS, rows
from phibench.show.tables import (
    UNKNOWN,
    Column,
    csv_text,
    draw,
    json_array,
    json_lines,
    markdown,
    markdown_text,
    sql_text,
)

__all__ = ["FORMATS", "markdown_table", "rows", "sql", "table"]


# ------------------------------------------------------------------------------------- what people look at


def _layers(row: Row) -> str | None:
    return str(row.layers or "all") if row.weights else None


def _options(row: Row) -> str:
    return " ".join(f"{key}={value}" for key, value in dict(row.setup.options).items()) or "default"


def _version(row: Row) -> str | None:
    return row.engine.version if row.engine else None


def _text(count: int | None) -> str | None:
    return None if count is None else str(count)


def _count(number: str, what: str) -> str:
    return f"{number} {what}{'' if number == '1' else 's'}"


_VARIANT: Column[Row] = Column(title="variant", cell=lambda row: row.setup.variant)
_QUANTIZATION: Column[Row] = Column(title="quant", cell=lambda row: row.setup.quantization)
_BACKEND: Column[Row] = Column(title="backend", cell=lambda row: f"{row.setup.backend}/{row.setup.device}")
_THREADS: Column[Row] = Column(title="threads", cell=lambda row: _text(row.threads), right=True)
_ENGINE: Column[Row] = Column(title="engine", cell=_version, rank=2)
_RUN: Column[Row] = Column(title="run", cell=lambda row: row.run.id, rank=2)
_TEST: Column[Row] = Column(title="test", cell=lambda row: str(row.workload))
_SUBJECT: tuple[tuple[Column[Row], Callable[[str], str]], ...] = (
    (_VARIANT, str),
    (_QUANTIZATION, str),
    (_BACKEND, str),
    (Column(title="options", cell=_options), str),
    (_THREADS, lambda text: _count(text, "thread")),
    (Column(title="weights", cell=lambda row: row.weights), lambda text: f"{text} weights"),
    (Column(title="layers", cell=_layers, right=True), lambda text: f"a slice of {_count(text, 'layer')}"),
    (_ENGINE, lambda text: f"engine {text}"),
    (
        Column(title="from", cell=lambda row: row.run.imported or "phibench", rank=2),
        lambda text: f"imported from {text}",
    ),
    (Column(title="machine", cell=lambda row: row.run.machine.slug, rank=2), str),
    (_RUN, lambda text: f"run {text}"),
)
_SETUP = ("variant", "quant", "backend", "options")
_NAMED = 3  # tests before a note; the others are counted
_SILENT = ("all", "default", "phibench")  # not worth a word in a caption


def _split(rows: Sequence[Row]) -> tuple[list[Column[Row]], dict[str, str]]:
    """The columns that vary, and what to say of those that do not."""
    varied, constant = [], {}
    for subject, say in _SUBJECT:
        known = {text for row in rows if (text := subject.cell(row)) is not None}
        if subject is _ENGINE and len(known) > 1 and (said := _engines(rows)):
            constant[subject.title] = said
        elif len(known) > 1:
            varied.append(subject)
        elif known and not known & set(_SILENT):
            constant[subject.title] = say(known.pop())
    return varied, constant


def _engines(rows: Sequence[Row]) -> str | None:
    """ "llama_cpp 0.3.36, torch 2.13.0" where each backend has one version, so that they tell no rows apart."""
    versions = {(row.setup.backend, version) for row in rows if (version := _version(row))}
    if len({backend for backend, _ in versions}) < len(versions):
        return None
    return ", ".join(f"{backend} {version}" for backend, version in sorted(versions))


def _caption(rows: Sequence[Row], constant: dict[str, str]) -> str:
    """What all rows share: "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu, 2 threads, synthetic weights"."""
    machine = {cpus for row in rows if (cpus := row.llama_bench["cpu_info"])}
    words = dict(constant)
    if len({row.setup for row in rows}) == 1:
        words = {"setup": str(rows[0].setup)} | {k: v for k, v in words.items() if k not in _SETUP}
    if "machine" in words and len(machine) == 1:
        words["machine"] = machine.pop()
    if any(row.run.suite.short for row in rows):
        words["short"] = "a short run (--quick)"
    if any(row.run.example for row in rows):
        words["example"] = "an example, not measured here"
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

_SPEED = ("prefill_tps", "decode_tps")
_ITL = ("itl_p50_s", "itl_p90_s", "itl_p99_s")
_MILLISECONDS = ("tpot_s", *_ITL)
# which columns go first where the width is short
_RANKS = {"ttft_s": 1, "host_peak_bytes": 2, "sequence_tps": 3, "tpot_s": 3, "decode_tokens_per_j": 3, "total_tps": 4}
_PAIRED = {  # a row is a prompt or an answer, so that one column serves both
    "J/tok": ("prefill_j_per_token", "decode_j_per_token"),
    "net J/tok": ("prefill_net_j_per_token", "decode_net_j_per_token"),
}
_TITLES = {"sequence_tps": "each tok/s", "decode_tokens_per_j": "tok/J"}  # short ones; others are the metric's


def _measures(rows: Sequence[Row], speed: str) -> list[Column[Row]]:
    """A column for every metric that any row knows; prefill and decode share one unless a test has both.

    Where no speed is known a word says what became of a test.
    """
    memory = memory_columns.columns(rows)
    known = [name for name in METRICS if any(row.median(name) is not None for row in rows)]
    known = [name for name in known if not (memory and name in memory_columns.SHOWN)]
    both = any(row.workload.prompt_tokens and row.workload.new_tokens for row in rows)
    timed = any(name in known for name in _SPEED)
    columns = [] if both or not timed else [_paired_column(speed, *_SPEED)]
    if not columns and any(map(_failed, rows)):
        columns = [Column(title="result", cell=lambda row: _failed(row) or "ok")]
    skipped = {*_ITL} if both else {*_ITL, *_SPEED, "total_tps", "answer_s", *(n for p in _PAIRED.values() for n in p)}
    if not both:
        columns += [_paired_column(title, *pair) for title, pair in _PAIRED.items() if {*pair} & {*known}]
    columns += [*memory, *(_metric_column(name) for name in known if name not in skipped)]
    if all(name in known for name in _ITL):
        columns.append(Column(title="ITL ms p50/p90/p99", cell=_itl_cell, right=True, rank=5))
    return columns


def _paired_column(title: str, prefill: str, decode: str) -> Column[Row]:
    """One column for a figure of prompts and of answers; it says what became of a test that has none."""

    def name(row: Row) -> str:
        return prefill if row.workload.prompt_tokens else decode

    return Column(
        title=title,
        cell=lambda row: _failed(row) or _spread(row, name(row)),
        short=lambda row: _failed(row) or _median(row, name(row)),
        right=True,
    )


def _failed(row: Row) -> str | None:
    return None if row.outcome == "ok" else row.outcome


def _metric_column(name: str) -> Column[Row]:
    metric = METRICS[name]
    unit = "ms" if name in _MILLISECONDS else "GiB" if metric.unit == "B" else metric.unit
    return Column(
        title=_TITLES.get(name, f"{metric.title} {unit}"),
        cell=lambda row: _spread(row, name),
        short=lambda row: _median(row, name),
        right=True,
        rank=_RANKS.get(name, 0),
    )


def _itl_cell(row: Row) -> str | None:
    found = [_median(row, name) for name in _ITL]
    return "/".join(text or UNKNOWN for text in found) if any(found) else None


def _median(row: Row, name: str) -> str | None:
    value = row.median(name)
    return None if value is None else number(value * _scale(name))


def _spread(row: Row, name: str) -> str | None:
    """``12.3 [11.9..12.8]``, all with the decimals of the median."""
    spread = row.metrics.get(name)
    if spread is None or spread.low == spread.high:
        return _median(row, name)
    decimals = places(spread.median * _scale(name))
    shown = [number(value * _scale(name), decimals) for value in (spread.median, spread.low, spread.high)]
    return f"{shown[0]} [{shown[1]}..{shown[2]}]"


def _scale(name: str) -> float:
    return 1e3 if name in _MILLISECONDS else 2.0**-30 if METRICS[name].unit == "B" else 1.0


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
    return caption, (*varied, _TEST), tuple(_measures(rows, "tok/s"))


def _footnotes(rows: Sequence[Row], varied: Sequence[Column[Row]]) -> list[str]:
    """Reasons and notes with the tests that they belong to, then what speaks against a whole run."""
    said: dict[str, list[str]] = {}
    every: dict[str, None] = {}
    for row in rows:
        name = " ".join(text for c in (*varied, _TEST) if (text := c.cell(row)))
        every[name] = None
        for text in filter(None, (row.reason, *(note.text for note in row.notes))):
            said.setdefault(text, []).append(name)
    notes = [f"{_of(names, every)}{text}" for text, names in said.items()]
    several = _RUN in varied

    def of_runs(lines: Callable[[Row], Sequence[str]]) -> dict[str, None]:
        return dict.fromkeys(f"run {row.run.id}: {text}" if several else text for row in rows for text in lines(row))

    doubts = of_runs(lambda row: row.run.warnings)
    return [*notes, *of_runs(lambda row: row.contest), *(f"doubtful: {text}" for text in doubts)]


def _of(names: Sequence[str], every: Mapping[str, None]) -> str:
    """``pp512, tg128: ``; of many only the first, and all as a whole."""
    different = list(dict.fromkeys(names))
    if len(different) == len(every) > 1:
        return "every test: "
    more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return f"{', '.join(different[:_NAMED])}{more}: "


def markdown_table(rows: Sequence[Row]) -> str:
    """llama-bench's columns (model, size, params, backend, threads, test, t/s), then ours; facts below."""
    varied, constant = _split(rows)
    always: tuple[Column[Row], ...] = (
        Column(title="model", cell=lambda row: f"{row.setup.variant} {row.setup.quantization}"),
        Column(title="size", cell=_size, right=True),
        Column(title="params", cell=_parameters, right=True),
        _BACKEND,
        _THREADS,
    )
    others = [c for c in varied if c not in (_VARIANT, _QUANTIZATION, _BACKEND, _THREADS)]
    text = markdown(rows, (*always, *others, _TEST, *_measures(rows, "t/s")))
    said = filter(None, (_caption(rows, constant), _legend(rows), *_footnotes(rows, varied)))
    return text + "".join(f"\n{markdown_text(line)}\n" for line in said)


def _size(row: Row) -> str | None:
    return gib(row.artifact.bytes) if row.artifact and row.artifact.bytes else None


def _parameters(row: Row) -> str | None:
    count = row.artifact.parameters if row.artifact else None
    return None if count is None else f"{count / 1e9:.2f} B"


def sql(rows: Sequence[Row]) -> str:
    """One table for every run ever: each known column, each time."""
    return sql_text(list(map(flat, rows)), "phibench", SQL_COLUMNS)


class Form(Protocol):
    """``width`` is the terminal's; only the table asks for it."""

    def __call__(self, rows: Sequence[Row], width: int | None = None, /) -> str: ...


FORMATS: dict[str, Form] = {
    "table": table,
    "md": lambda rows, width=None: markdown_table(rows),  # noqa: ARG005
    "csv": lambda rows, width=None: csv_text(list(map(flat, rows))),  # noqa: ARG005
    "json": lambda rows, width=None: json_array(list(map(flat, rows))),  # noqa: ARG005
    "jsonl": lambda rows, width=None: json_lines(list(map(flat, rows))),  # noqa: ARG005
    "sql": lambda rows, width=None: sql(rows),  # noqa: ARG005
}
