"""The columns of the table of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phibench.core.metrics import METRICS
from phibench.core.nouns import Row
from phibench.core.text import number, places
from phibench.core.units import gib
from phibench.show import memory_columns
from phibench.show.tables import UNKNOWN, Column


def _layers(row: Row) -> str | None:
    return str(row.layers or "all") if row.weights else None


def _options(row: Row) -> str:
    return " ".join(f"{key}={value}" for key, value in dict(row.setup.options).items()) or "default"


def engine_version(row: Row) -> str | None:
    return row.engine.version if row.engine else None


def _text(count: int | None) -> str | None:
    return None if count is None else str(count)


def _count(number: str, what: str) -> str:
    return f"{number} {what}{'' if number == '1' else 's'}"


VARIANT: Column[Row] = Column(title="variant", cell=lambda row: row.setup.variant)


QUANTIZATION: Column[Row] = Column(title="quant", cell=lambda row: row.setup.quantization)


BACKEND: Column[Row] = Column(title="backend", cell=lambda row: f"{row.setup.backend}/{row.setup.device}")


THREADS: Column[Row] = Column(title="threads", cell=lambda row: _text(row.threads), right=True)


ENGINE: Column[Row] = Column(title="engine", cell=engine_version, rank=2)


RUN: Column[Row] = Column(title="run", cell=lambda row: row.run.id, rank=2)


TEST: Column[Row] = Column(title="test", cell=lambda row: str(row.workload))


SUBJECT: tuple[tuple[Column[Row], Callable[[str], str]], ...] = (
    (VARIANT, str),
    (QUANTIZATION, str),
    (BACKEND, str),
    (Column(title="options", cell=_options), str),
    (THREADS, lambda text: _count(text, "thread")),
    (Column(title="weights", cell=lambda row: row.weights), lambda text: f"{text} weights"),
    (Column(title="layers", cell=_layers, right=True), lambda text: f"a slice of {_count(text, 'layer')}"),
    (ENGINE, lambda text: f"engine {text}"),
    (
        Column(title="from", cell=lambda row: row.run.imported or "phibench", rank=2),
        lambda text: f"imported from {text}",
    ),
    (Column(title="machine", cell=lambda row: row.run.machine.slug, rank=2), str),
    (RUN, lambda text: f"run {text}"),
)


SETUP = ("variant", "quant", "backend", "options")


NAMED = 3  # tests before a note; the others are counted


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


def measures(rows: Sequence[Row], speed: str) -> list[Column[Row]]:
    """A column for every metric that any row knows; prefill and decode share one unless a test has both.

    Where no speed is known a word says what became of a test.
    """
    memory = memory_columns.columns(rows)
    known = [name for name in METRICS if any(row.median(name) is not None for row in rows)]
    known = [name for name in known if not (memory and name in memory_columns.SHOWN)]
    both = any(row.workload.prompt_tokens and row.workload.new_tokens for row in rows)
    timed = any(name in known for name in _SPEED)
    columns = [] if both or not timed else [paired_column(speed, *_SPEED)]
    if not columns and any(map(failed, rows)):
        columns = [Column(title="result", cell=lambda row: failed(row) or "ok")]
    skipped = {*_ITL} if both else {*_ITL, *_SPEED, "total_tps", "answer_s", *(n for p in _PAIRED.values() for n in p)}
    if not both:
        columns += [paired_column(title, *pair) for title, pair in _PAIRED.items() if {*pair} & {*known}]
    columns += [*memory, *(metric_column(name) for name in known if name not in skipped)]
    if all(name in known for name in _ITL):
        columns.append(Column(title="ITL ms p50/p90/p99", cell=_itl_cell, right=True, rank=5))
    return columns


def paired_column(title: str, prefill: str, decode: str) -> Column[Row]:
    """One column for a figure of prompts and of answers; it says what became of a test that has none."""

    def name(row: Row) -> str:
        return prefill if row.workload.prompt_tokens else decode

    return Column(
        title=title,
        cell=lambda row: failed(row) or _spread(row, name(row)),
        short=lambda row: failed(row) or _median(row, name(row)),
        right=True,
    )


def failed(row: Row) -> str | None:
    return None if row.outcome == "ok" else row.outcome


def metric_column(name: str) -> Column[Row]:
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


def size(row: Row) -> str | None:
    return gib(row.artifact.bytes) if row.artifact and row.artifact.bytes else None


def parameters(row: Row) -> str | None:
    count = row.artifact.parameters if row.artifact else None
    return None if count is None else f"{count / 1e9:.2f} B"
