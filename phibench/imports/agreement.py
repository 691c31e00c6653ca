"""Whether the figures of one row agree: the tools print a measurement several times, and a damaged row differs.

What follows from what: llama.cpp, tools/llama-bench/llama-bench.cpp (test, get_ts) and batched-bench.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from phibench.core import stats
from phibench.imports.llama_bench import Batched, Bench

MOST_OFF = 0.02  # chosen: rounding to six digits leaves far less
_OF_AVERAGES = 0.10  # chosen: without samples the mean of the speeds is only about the speed of the mean time
Due = tuple[str, float, float]  # field, what follows from the times, how far off it may be


def doubt(value: Mapping[str, Any], row: Bench | Batched) -> str | None:
    """What contradicts the times of a row, which are what is taken over; ``value``: all that it says."""
    for name, due, most in _of_batch(row) if isinstance(row, Batched) else _of_bench(row):
        said: Any = value.get(name)
        if _is_figure(said) and due > 0 and abs(said / due - 1) > most:
            return f"its figures contradict one another: {name} is {said:.6g}, its times say {due:.6g}; the times count"
    return None


def _of_bench(row: Bench) -> Iterator[Due]:
    tokens = row.n_prompt + row.n_gen
    if not row.samples_ns:
        yield "avg_ts", 1e9 * tokens / row.avg_ns, _OF_AVERAGES
        return
    yield "avg_ns", stats.mean(row.samples_ns), MOST_OFF
    yield "avg_ts", stats.mean([1e9 * tokens / ns for ns in row.samples_ns]), MOST_OFF


def _of_batch(row: Batched) -> Iterator[Due]:
    yield "t", row.t_pp + row.t_tg, MOST_OFF
    if row.t_pp:
        yield "speed_pp", row.pp * (1 if row.is_pp_shared else row.pl) / row.t_pp, MOST_OFF
    if row.t_tg:
        yield "speed_tg", row.tg * row.pl / row.t_tg, MOST_OFF


def _is_figure(value: Any) -> bool:
    """A speed or time that was printed; of nothing measured C's word for no number stands there, or 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value) and value != 0
