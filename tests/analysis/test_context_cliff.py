"""Pauses and steps: found where they are planted, and not where they are not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fakes
import msgspec
import numpy as np
import pytest
from conftest import Phibench
from fakes import SETUP, measured, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phibench import backends
from phibench.analysis import context_cliff
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Device, Estimate, Failed, Job, Sample, Setup, Suite, Warmup, Workload
from phibench.measure import record, tasks, timing
from phibench.measure import run as run_
from phibench.predict import run_time
from phibench.predict.speed import Knowledge
from phibench.show import results as show_results

Gaps = NDArray[np.float64]
TOKENS, DEPTH = 400, 3900
WALK = Workload(prompt_tokens=0, new_tokens=TOKENS, depth=DEPTH)
SUITE = Suite(name="context", question="?", metrics=("decode_tps",), new_tokens=(8,), walks=((DEPTH, DEPTH + TOKENS),))


def flat(seed: int, repetitions: int = 3, noise: float = 0.02, tokens: int = TOKENS) -> Gaps:
    return 0.1 * (1 + noise * np.random.default_rng(seed).standard_normal((repetitions, tokens)))


def planted(gaps: Gaps, at: int, *, pause: float = 1.0, step: float = 1.0) -> Gaps:
    """The token ``at`` takes ``pause`` times as long, it and all after it ``step`` times."""
    gaps = gaps.copy()
    gaps[:, at - DEPTH - 1 :] *= step
    gaps[:, at - DEPTH - 1] *= pause
    return gaps


def arrivals(gaps: Gaps) -> list[tuple[float, ...]]:
    return [tuple(row) for row in np.cumsum(gaps, axis=1).tolist()]


def notes(gaps: Gaps, setup: Setup = SETUP, launches: int = 1, suite: Suite = SUITE) -> list[str]:
    """The notes of the row of a walk, its repetitions spread over launches."""
    samples = [Sample(arrivals_s=row) for row in arrivals(gaps)]
    results = [
        msgspec.structs.replace(measured(WALK, setup=setup, launch=n), samples=tuple(samples[n::launches]))
        for n in range(launches)
    ]
    (row,) = show_results.rows([msgspec.structs.replace(run(*results), suite=suite)])
    return [note.text for note in row.notes]


# ----------------------------------------------------------------------------------------------- planted


@settings(deadline=None, max_examples=60)
@given(at=st.integers(DEPTH + 9, DEPTH + TOKENS), size=st.floats(3, 1000), seed=st.integers(0, 10**6))
@example(at=4097, size=70, seed=0)
def test_a_planted_pause_is_found_at_its_very_token(at: int, size: float, seed: int) -> None:
    found = context_cliff.pause(DEPTH, planted(flat(seed), at, pause=size))
    assert found is not None
    assert found.token == at
    assert found.seconds == pytest.approx(0.1 * size, rel=0.1)


@settings(deadline=None, max_examples=60)
@given(at=st.integers(DEPTH + 60, DEPTH + TOKENS - 60), size=st.floats(1.08, 3), seed=st.integers(0, 10**6))
@example(at=4097, size=1.2, seed=0)
def test_a_planted_step_is_found_within_one_token(at: int, size: float, seed: int) -> None:
    found = context_cliff.step(DEPTH, planted(flat(seed), at, step=size))
    assert found is not None
    assert abs(found.token - at) <= 1
    assert found.before_s == pytest.approx(0.1, rel=0.03)
    assert found.after_s / found.before_s == pytest.approx(size, rel=0.04)


@pytest.mark.parametrize("step_at", [4094, 4097, 4100])
def test_a_step_near_a_pause_is_found_where_it_begins(step_at: int) -> None:
    near = 0
    for seed in range(20):
        gaps = planted(planted(flat(seed, noise=0.05), 4097, pause=70), step_at, step=1.2)
        pause = context_cliff.pause(DEPTH, gaps)
        assert pause is not None
        assert pause.token == 4097
        step = context_cliff.step(DEPTH, gaps, pause)
        near += step is not None and abs(step.token - step_at) <= 1
    assert near >= 18


def test_hiccups_and_drift_hide_neither() -> None:
    rng = np.random.default_rng(3)
    gaps = flat(3) * np.linspace(1, 1.1, TOKENS)
    gaps += 0.1 * (rng.random(gaps.shape) < 0.02) * rng.pareto(1, gaps.shape)
    said = notes(planted(gaps, 4097, pause=70, step=1.2))
    assert re.fullmatch(r"pause of 8\.\d+ s at token 4097", said[0])
    assert re.fullmatch(r"slower from token 409[678]: 9\.\d+ -> 7\.\d+ tok/s \(-1[67] %\)", said[1])


# -------------------------------------------------------------------------------------------------- flat

NOISES = ("gauss", "lognormal", "tail", "hiccups", "levels")


def noisy(kind: str, rng: np.random.Generator, repetitions: int) -> Gaps:
    shape = (repetitions, TOKENS)
    gaps: Gaps = 1 + 0.02 * rng.standard_normal(shape)
    if kind == "lognormal":
        gaps = rng.lognormal(0, 0.1, shape)
    elif kind == "tail":
        gaps = 1 + 0.02 * np.abs(rng.standard_t(1.5, shape))
    elif kind == "hiccups":
        gaps += (rng.random(shape) < 0.02) * rng.pareto(1, shape)
    elif kind == "levels":
        for row in gaps:
            row[rng.integers(TOKENS) :] *= math.exp(rng.normal(0, 0.1))
    return gaps


@pytest.mark.parametrize("kind", NOISES)
def test_of_200_flat_walks_at_most_10_alarm(kind: str) -> None:
    """Two to four repetitions; every other walk drifts by 10 %. benchmarks/cliff.py has more kinds, one by one."""
    rng = np.random.default_rng(7)
    alarms = 0
    for trial in range(200):
        gaps = noisy(kind, rng, 2 + trial % 3) * np.linspace(1, 1 + 0.1 * (trial % 2), TOKENS)
        pause = context_cliff.pause(DEPTH, gaps)
        alarms += (pause is not None) + (context_cliff.step(DEPTH, gaps, pause) is not None)
    assert alarms <= 10


def test_a_decode_of_constant_times_has_neither() -> None:
    assert notes(np.full((3, TOKENS), 0.1)) == ["no pause and no step from token 3901 to 4300", *notes_of_factors()]


def notes_of_factors(which: str = "long", size: str = "more than") -> list[str]:
    return [f"llama.cpp uses the {which} factors for the whole context, since {size} 4096 tokens were configured"]


def test_what_happens_in_one_repetition_is_noise() -> None:
    gaps = flat(4)
    gaps[0] = planted(gaps[:1], 4097, pause=70, step=1.3)[0]
    assert context_cliff.pause(DEPTH, gaps) is None
    assert context_cliff.step(DEPTH, gaps) is None


def test_what_ends_before_the_walk_does_is_no_step() -> None:
    gaps = planted(planted(flat(5), 4000, step=1.3), 4150, step=1 / 1.3)
    assert context_cliff.step(DEPTH, gaps) is None


def test_the_first_tokens_are_slow_in_every_repetition_and_no_pause() -> None:
    gaps = flat(6)
    gaps[:, :3] *= 20
    assert context_cliff.pause(DEPTH, gaps) is None


def test_what_is_small_is_no_cliff_however_surely_it_comes_back() -> None:
    """llama.cpp works on its KV cache in blocks of 256 tokens, which costs a little at each."""
    gaps = planted(flat(8, noise=0.001), 4097, pause=1.5, step=1.02)
    assert context_cliff.pause(DEPTH, gaps) is None
    assert context_cliff.step(DEPTH, gaps) is None


def test_a_faster_decode_is_no_cliff() -> None:
    assert context_cliff.step(DEPTH, planted(flat(8), 4097, step=0.8)) is None


# --------------------------------------------------------------------------------- repetitions, damaged files


def test_repetitions_of_all_launches_count_together() -> None:
    gaps = planted(flat(9, repetitions=3), 4097, pause=70)
    assert notes(gaps, launches=3)[0] == notes(gaps)[0]
    assert notes(gaps)[0].endswith("at token 4097")


def test_one_repetition_is_not_judged_and_says_so() -> None:
    said = notes(planted(flat(10, repetitions=1), 4097, pause=70))
    assert said[0] == "not judged: one repetition cannot tell a pause or a step from chance; take -r 3"


@pytest.mark.parametrize(("tokens", "judged"), [(127, False), (128, True)])
def test_a_walk_too_short_is_not_judged_and_says_so(tokens: int, judged: bool) -> None:
    work = Workload(prompt_tokens=0, new_tokens=tokens, depth=100)
    samples = tuple(Sample(arrivals_s=row) for row in arrivals(flat(14, tokens=tokens)))
    suite = msgspec.structs.replace(SUITE, walks=((100, 100 + tokens),))
    said = context_cliff.notes(suite, [msgspec.structs.replace(measured(work), samples=samples)])
    assert said[0].startswith("no pause and no step" if judged else "not judged: a walk of fewer than 128 tokens")


def test_short_walks_break_nothing() -> None:
    """A step needs room on both sides, a pause a little less; three tokens say nothing and break nothing."""
    assert context_cliff.pause(0, np.ones((3, 3))) is None
    assert context_cliff.step(0, np.ones((3, 3))) is None
    gaps = flat(11, tokens=60)
    gaps[:, 40] *= 50
    found = context_cliff.pause(0, gaps)
    assert found is not None
    assert found.token == 41
    assert context_cliff.step(0, gaps, found) is None


DAMAGED = [(), (0.1,), (math.nan,) * TOKENS, (math.inf,) * TOKENS, tuple(range(TOKENS, 0, -1)), (0.0,) * TOKENS]


@pytest.mark.parametrize("bad", DAMAGED, ids=["none", "one", "nan", "infinite", "backwards", "zero"])
def test_a_damaged_repetition_changes_nothing(bad: Sequence[float]) -> None:
    whole = arrivals(planted(flat(12), 4097, pause=70))
    found = context_cliff.pause(DEPTH, context_cliff.gaps(TOKENS, [*whole, bad, bad]))
    if bad != (0.0,) * TOKENS:  # a clock that stood still is a walk without gaps
        assert found == context_cliff.pause(DEPTH, context_cliff.gaps(TOKENS, whole))
    assert context_cliff.gaps(TOKENS, [bad]).shape[1] == TOKENS


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.floats(0, 1e9), min_size=40, max_size=120), min_size=0, max_size=4), st.integers(1, 120))
def test_no_arrivals_break_it(rows: list[list[float]], tokens: int) -> None:
    gaps = context_cliff.gaps(tokens, rows)
    pause = context_cliff.pause(0, gaps) if len(gaps) else None
    assert pause is None or 1 <= pause.token <= tokens
    step = context_cliff.step(0, gaps, pause) if len(gaps) else None
    assert step is None or step.after_s > step.before_s


# ------------------------------------------------------------------------------------------------- notes


def test_texts() -> None:
    assert str(context_cliff.Pause(token=4097, seconds=7.1)) == "pause of 7.1 s at token 4097"
    step = context_cliff.Step(token=4097, before_s=1 / 8.2, after_s=1 / 6.9)
    assert str(step) == "slower from token 4097: 8.2 -> 6.9 tok/s (-16 %)"


@pytest.mark.parametrize(
    ("variant", "backend", "depth", "says"),
    [
        ("phi-4-mini-instruct", "llama_cpp", 4088, notes_of_factors("short", "at most")),
        ("phi-4-mini-instruct", "llama_cpp", 4089, notes_of_factors("long", "more than")),
        ("phi-4-mini-instruct", "onnxruntime", 8192, []),
        ("phi-4", "llama_cpp", 8192, []),  # no LongRoPE
        ("a-phi-to-come", "llama_cpp", 8192, []),
    ],
)
def test_the_factors_that_llama_cpp_chose_are_a_note(variant: str, backend: str, depth: int, says: list[str]) -> None:
    setup = Setup(variant=variant, quantization="Q4_K_M", backend=backend)
    result = measured(Workload(prompt_tokens=0, new_tokens=8, depth=depth), setup=setup)
    (row,) = show_results.rows([msgspec.structs.replace(run(result), suite=SUITE)])
    assert [note.text for note in row.notes] == says
    assert show_results.rows([run(result)])[0].notes == ()  # no suite with walks: nobody asked


def test_findings_stand_below_the_table_and_in_markdown() -> None:
    samples = tuple(Sample(arrivals_s=row) for row in arrivals(planted(flat(13), 4097, pause=71)))
    whole = run(msgspec.structs.replace(measured(WALK), samples=samples), metrics=("decode_tps",))
    rows = show_results.rows([msgspec.structs.replace(whole, suite=SUITE)])
    assert re.search(r"^tg400 @ d3900: pause of 7\.\d+ s at token 4097$", show_results.table(rows, 120), re.MULTILINE)
    assert "at token 4097" in show_results.markdown_table(rows)


# ------------------------------------------------------------------------------- depths that do not fit here


def prepared(
    variant: str, free_bytes: int, depths: tuple[int, ...] = (0, 1024, 16384), force: bool = False
) -> tasks.Task:
    place = fakes.machine()
    place = msgspec.structs.replace(place, limits=msgspec.structs.replace(place.limits, free_bytes=free_bytes))
    setup = Setup(variant=variant, quantization="Q4_K_M", backend="llama_cpp")
    (task,) = tasks.prepare((setup,), msgspec.structs.replace(SUITE, depths=depths), place, force=force)
    return task


def test_a_depth_that_memory_does_not_hold_costs_its_test_alone() -> None:
    free = 4 * fakes.GIB
    task = prepared("phi-4-mini-instruct", free)
    assert task.objection is None
    assert task.need.total_bytes <= free
    ((workload, why),) = task.refused
    assert workload.depth == 16384
    assert re.search(r"needs .* GiB of memory .* can use only 4 GiB", why.reason)
    assert [w.depth for w in task.workloads()] == [0, 1024, 3900]
    assert prepared("phi-4-mini-instruct", free, force=True).refused == ()
    assert prepared("phi-4-mini-instruct", 20 * fakes.GIB).refused == ()


def test_where_no_weights_fit_no_depth_is_to_blame() -> None:
    task = prepared("phi-4", fakes.GIB)
    assert task.objection is not None
    assert "this process can use only 1 GiB" in task.objection.reason


def test_a_depth_beyond_the_variants_context_costs_its_test_alone() -> None:
    task = prepared("phi-4", 64 * fakes.GIB)
    ((workload, why),) = task.refused
    assert (workload.depth, str(why)) == (16384, "phi-4 has a context of 16k tokens, the test needs 16392")
    with pytest.raises(PhibenchError, match="phi-2 has a context of 2k tokens, the suite needs 16392"):
        prepared("phi-2", 64 * fakes.GIB, depths=(4096, 16384))


def test_what_is_refused_becomes_a_failed_row_and_the_rest_is_measured(tmp_path: Path) -> None:
    setup = Setup(variant="phi-4-mini-instruct", quantization="Q4_K_M", backend="null")
    suite = msgspec.structs.replace(SUITE, look_s=0, repetitions=1, warmup=Warmup(max_windows=0))
    (task,) = tasks.prepare((setup,), suite, fakes.machine())
    task = msgspec.structs.replace(task, refused=((WALK, tasks.Refusal("no room")),))
    done, _ = run_.run((task,), suite, fakes.machine(), tmp_path, software={}, on_event=lambda *_: None)
    rows = {str(row.workload): row for row in show_results.rows([done])}
    assert {test: row.status for test, row in rows.items()} == {"tg8": "ok", "tg400 @ d3900": "failed"}
    assert rows["tg400 @ d3900"].reason == "no room"
    assert [result.cause for result in done.results if isinstance(result, Failed)] == ["refused"]
    assert record.exit_code((done,)) == 1


def test_filling_a_depth_counts_in_the_time_that_is_told_before() -> None:
    def seconds(depth: int, backend: str = "llama_cpp") -> Estimate:
        place = fakes.machine()
        cpu = Device(kind="cpu", name="Test CPU", read_bytes_s=40e9, basis="probed", matrix_flops_s={"f32": 2e11})
        setup = Setup(variant="phi-4-mini-instruct", quantization=backends.load(backend).QUANTIZATION, backend=backend)
        work = (Workload(prompt_tokens=0, new_tokens=8, depth=depth),)
        known = Knowledge(msgspec.structs.replace(place, devices=(cpu,)))
        found = run_time.estimate_s(setup, SUITE, work, None, known)
        assert found is not None
        return found

    assert seconds(4000).low > seconds(0).low + 4000 / 500  # no such machine fills 500 tokens a second
    assert seconds(4093).high < 1.1 * seconds(4000).high
    assert seconds(4093, "torch").high > 2 * seconds(4000, "torch").high  # filled again, and computed again


# --------------------------------------------------------------------------------------------- front door


def suite_file(tmp_path: Path, walks: str) -> str:
    path = tmp_path / "walk.toml"
    path.write_text(
        f'name = "walk"\nquestion = "?"\nmetrics = ["decode_tps"]\nlook_s = 0\nrepetitions = 3\nwalks = {walks}\n'
        "[warmup]\nmax_windows = 0\n",
        encoding="utf-8",
    )
    return str(path)


@pytest.mark.parametrize(
    "walks", ["[[4300, 3900]]", "[[3900, 3900]]", "[[-5, 10]]", "[[3900]]", "[[1, 2, 3]]", "[3900, 4300]"]
)
def test_a_walk_that_leads_nowhere_is_one_clear_line(phibench: Phibench, tmp_path: Path, walks: str) -> None:
    done = phibench("run", suite_file(tmp_path, walks), "-b", "null")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "walk" in done.err


def walk(phibench: Phibench, tmp_path: Path, *options: str) -> dict[str, Any]:
    extra = [word for option in ("token_us=100", *options) for word in ("--backend-option", option)]
    done = phibench("run", suite_file(tmp_path, "[[4000, 4200]]"), "-b", "null", "-o", "json", *extra)
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    found: dict[str, Any] = row
    return found


def test_the_command_finds_what_the_null_backend_was_told_to_do(phibench: Phibench, tmp_path: Path) -> None:
    row = walk(phibench, tmp_path, "pause_at=4097", "pause_ms=100")
    assert row["test"] == "tg200 @ d4000"
    assert [note for note in row["notes"] if note.endswith("ms at token 4097")], row["notes"]


def test_null_plants_what_it_says_at_the_token_it_says() -> None:
    """The session's own account of its times; that a busy loop keeps them is not asserted."""
    session = null_session(token_us="1000", pause_at="4097", pause_ms="50", step_at="4100", step_percent="20")
    times = {token: session._step_s(token) for token in range(4090, 4105)}
    assert times[4097] == pytest.approx(0.051)
    assert {t for t, s in times.items() if s == pytest.approx(0.001)} == {*range(4090, 4097), 4098, 4099}
    assert {t for t, s in times.items() if s == pytest.approx(0.0012)} == set(range(4100, 4105))


def test_null_counts_tokens_as_a_sequence_does() -> None:
    session = null_session(pause_at="6", pause_ms="20")
    gaps = np.diff(timing.once(session, Workload(prompt_tokens=0, new_tokens=4, depth=3)).arrivals_s, prepend=0.0)
    assert gaps.argmax() == 2  # tokens 4, 5, 6, 7
    after_prompt = timing.once(session, Workload(prompt_tokens=4, new_tokens=4)).arrivals_s
    assert np.diff(after_prompt).argmax() == 1  # tokens 5, 6, 7


def test_noise_of_null_is_drawn_from_its_seed() -> None:
    one, same, other = (null_session(token_us="1000", noise_percent="5", seed=seed) for seed in ("1", "1", "2"))
    drawn = [[session._step_s(token) for token in range(200)] for session in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert np.std(drawn[0]) == pytest.approx(5e-5, rel=0.2)


def null_session(**options: str) -> Any:
    setup = Setup(
        variant="phi-4-mini-instruct", quantization="Q4_K_M", backend="null", options=tuple(sorted(options.items()))
    )
    job = Job(
        setup=setup, suite=SUITE, workloads=(WALK,), artifact=Artifact(path="", bytes=0, weights="synthetic"), threads=1
    )
    with backends.load("null").session(job) as session:
        return session
