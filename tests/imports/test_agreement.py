"""The same measurement stands several times in a row of llama-bench: where the figures differ, a note says so."""

from __future__ import annotations

from typing import Any

import pytest
from test_importer import batched, bench

from phibench.imports import agreement, llama_bench

TIMES = [11_900_000_000, 12_000_000_000, 12_100_000_000]  # of 512 tokens: 42.67 a second


def doubt(**fields: Any) -> str | None:
    row = (batched if "pp" in fields else bench)(**fields)
    return agreement.doubt(row, llama_bench._row(row))


@pytest.mark.parametrize(
    "fields",
    [{"samples_ns": TIMES}, {"samples_ns": TIMES, "avg_ts": 0}, {"samples_ns": [], "avg_ts": 44.0},
     {"samples_ns": TIMES, "avg_ts": "42"}, {"pp": 128}, {"pp": 128, "speed_pp": float("nan")},
     {"pp": 128, "is_pp_shared": 1, "speed_pp": 10.0}],
)  # fmt: skip
def test_figures_that_agree_or_are_none_cast_no_doubt(fields: dict[str, Any]) -> None:
    assert doubt(**fields) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"samples_ns": [1_900_000_000]}, "avg_ns"), ({"samples_ns": TIMES, "avg_ts": 426.6}, "avg_ts"),
     ({"samples_ns": [], "avg_ts": 4.3}, "avg_ts"), ({"samples_ns": TIMES, "n_prompt": 5120}, "avg_ts"),
     ({"pp": 128, "t_pp": 128.0}, "t"), ({"pp": 128, "speed_tg": -32.0}, "speed_tg"),
     ({"pp": 1280}, "speed_pp"), ({"pp": 128, "t": float("inf")}, "t")],
)  # fmt: skip
def test_one_that_contradicts_the_times_is_named(fields: dict[str, Any], said: str) -> None:
    text = doubt(**fields)
    assert text is not None
    assert text.startswith(f"its figures contradict one another: {said} is ")
