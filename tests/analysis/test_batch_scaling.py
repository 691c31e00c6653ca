"""The knee of a batch: pure functions on rows."""

from __future__ import annotations

import fakes
from hypothesis import given
from hypothesis import strategies as st

from phibench.analysis import batch_scaling
from phibench.core.nouns import Note, Row
from phibench.show import results as show_results


def test_the_knee_is_where_no_larger_batch_gives_a_tenth_more() -> None:
    assert batch_scaling.knee([(1, 10.0), (2, 19.0), (4, 30.0), (8, 32.0), (16, 32.5)]) == 2
    assert batch_scaling.knee([(1, 10.0), (2, 10.5), (4, 10.9)]) == 0


def test_one_slow_batch_is_no_knee() -> None:
    assert batch_scaling.knee([(1, 10.0), (2, 10.5), (4, 20.0), (8, 40.0)]) is None


def test_a_single_batch_has_no_knee() -> None:
    assert batch_scaling.knee([(4, 10.0)]) is None
    assert batch_scaling.knee([]) is None


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=8))
def test_no_batch_before_the_knee_would_do(speeds: list[float]) -> None:
    curve = [(2**i, speed) for i, speed in enumerate(speeds)]
    found = batch_scaling.knee(curve)
    for place in range(len(curve) - 1 if found is None else found):
        assert any(later >= speeds[place] * 1.1 for later in speeds[place + 1 :])
    if found is not None:
        assert all(later < speeds[found] * 1.1 for later in speeds[found + 1 :])


def rows_of(step_s: dict[int, float]) -> list[Row]:
    results = [fakes.measured(fakes.workload(64, 16, batch=b), (step,)) for b, step in step_s.items()]
    return show_results.rows([fakes.run(*results, metrics=("prefill_tps", "decode_tps", "sequence_tps"))])


def test_rows_tell_the_knee_at_its_batch_with_what_each_sequence_gets() -> None:
    rows = rows_of({4: 0.39, 1: 0.1, 2: 0.1})  # whatever their order: 10, 20 and 10.3 tok/s
    notes = {row.workload.batch: [note for note in row.notes if note.metric == "decode_tps"] for row in rows}
    text = "the knee of decode: a batch of 4 gives -49% in all, 2.56 tok/s for each sequence instead of 10"
    assert notes == {4: [], 1: [], 2: [Note(kind="knee", text=text, metric="decode_tps")]}


def test_every_sequence_gets_its_share() -> None:
    rows = rows_of({1: 0.1, 4: 0.2})
    assert [(round(r.median("decode_tps") or 0, 6), round(r.median("sequence_tps") or 0, 6)) for r in rows] == [
        (10, 10),
        (20, 5),
    ]
