"""Which slices calibrating takes, in which order, and which of them a deadline leaves out."""

from __future__ import annotations

from collections.abc import Iterator

import fakes
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from suite_files import machine

from phibench import backends, catalog
from phibench.backends.rates import KV
from phibench.catalog import builds
from phibench.cli.calibration_plan import places
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Cache, Device, Job, Machine, Problem, Processor, Suite
from phibench.measure import calibration, record
from phibench.measure.calibration import Piece, Seconds
from phibench.measure.deadline import Deadline, Spare
from phibench.measure.tasks import NO_FILE, Task, prepare

NAMES = ("llama_cpp", "onnxruntime", "torch")
CPU = tuple((name, "cpu") for name in NAMES)


def with_cache(size: int) -> Machine:
    processor = Processor(caches=(Cache(level=1, bytes=32 << 10), Cache(level=3, bytes=size // 2, count=2)))
    return msgspec.structs.replace(machine(), processor=processor)


HERE = with_cache(32 << 20)
SLICES = calibration.slices(CPU, HERE)


def published_types(backend: str) -> Iterator[str]:
    """Of the matrices that a decode step reads, in every published build of every variant."""
    module = backends.load(backend)
    for variant in catalog.variants():
        if backends.objection(module, variant):
            continue
        for row in catalog.quantizations(module.FORMATS[0]):
            plan = backends.plan(module, variant, row.id)
            if builds.repositories(row.format, row.id, "cpu"):
                yield from (t.type for t in plan.tensors if len(t.shape) > 1 and plan.share(t) and t.type != "F32")


@pytest.mark.parametrize("backend", NAMES)
def test_every_tensor_type_of_published_builds_is_measured(backend: str) -> None:
    taught = {kind for piece in SLICES if piece.setup.backend == backend for kind in piece.teaches}
    assert set(published_types(backend)) <= taught


def test_a_type_is_measured_where_it_is_most_of_the_layers() -> None:
    module = backends.load("llama_cpp")
    alone = [piece for piece in SLICES if piece.setup.backend == "llama_cpp" and len(piece.teaches) == 1]
    for piece in alone:
        plan = backends.plan(module, catalog.variant(piece.setup.variant), piece.setup.quantization)
        sizes: dict[str, int] = {}
        for tensor in plan.tensors:
            if tensor.name.startswith("blk."):
                sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.bytes
        assert piece.suite.depths != (0,) or sizes[piece.teaches[0]] == max(sizes.values()), piece.name


def test_all_engines_get_two_slices_before_one_gets_a_third() -> None:
    first, then = SLICES[: 2 * len(CPU)], SLICES[2 * len(CPU) :]
    assert [piece.setup.backend for piece in first] == [*NAMES, *NAMES]
    assert {str(w) for w in first[0].suite.workloads()} == {"pp256", "tg16"}
    assert {str(w) for w in first[3].suite.workloads()} == {"pp512", "tg32"}
    assert [piece.suite.launches for piece in first] == [2, 2, 2, 1, 1, 1]
    assert {str(w) for w in then[0].suite.workloads()} == {"pp256 @ d1024", "tg16 @ d1024"}
    assert {piece.setup.quantization for piece in then if piece.setup.backend == "llama_cpp"} >= {"Q8_0", "Q6_K"}


def test_what_more_published_builds_hold_comes_first() -> None:
    order = [piece.setup.quantization for piece in SLICES if piece.setup.backend == "llama_cpp"]
    assert order.index("Q8_0") < order.index("Q5_1")
    assert order.index("Q6_K") < order.index("IQ1_S")
    assert len(SLICES) == len({(piece.setup, piece.layers, piece.suite) for piece in SLICES})


@given(st.integers(1 << 20, 1 << 30))
def test_a_slice_reads_several_times_what_the_caches_hold_or_is_whole(size: int) -> None:
    for piece in calibration.slices(CPU[:1], with_cache(size)):
        variant = catalog.variant(piece.setup.variant)
        assert variant.shape is not None
        plan = backends.plan(backends.load("llama_cpp"), variant, piece.setup.quantization, piece.layers)
        assert plan.read_bytes_per_token >= 4 * (size // 2 * 2) or piece.layers == variant.shape.layers


def test_a_gpu_that_the_build_reaches_gets_the_same_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device(kind="cuda:0", name="Some GPU", memory_bytes=24 << 30)
    broken = msgspec.structs.replace(gpu, kind="cuda:1", problems=(Problem(kind="unusable", evidence="?", remedy="?"),))
    npu = Device(kind="npu", name="Some NPU")
    monkeypatch.setattr(backends.load("llama_cpp"), "devices", lambda: ("cpu", "cuda:0"))
    monkeypatch.setattr(backends.load("torch"), "devices", lambda: ("cpu",))
    place = msgspec.structs.replace(HERE, devices=(*HERE.devices, gpu, broken, npu))
    found = places(place, ("torch", "llama_cpp"))
    assert found == (("llama_cpp", "cpu"), ("llama_cpp", "cuda:0"), ("torch", "cpu"))
    pieces = calibration.slices(found, place)
    by_device = {
        device: [piece.setup.quantization for piece in pieces if piece.setup.device == device and
                 piece.setup.backend == "llama_cpp"]
        for device in ("cpu", "cuda:0")
    }  # fmt: skip
    assert by_device["cpu"] == by_device["cuda:0"]
    assert {piece.setup.device for piece in pieces[:3]} == {"cpu", "cuda:0"}


def test_a_build_that_is_published_for_gpus_alone_is_worth_more_there() -> None:
    gpu = Device(kind="cuda:0", name="Some GPU", memory_bytes=24 << 30)
    place = msgspec.structs.replace(HERE, devices=(*HERE.devices, gpu))
    worth = {
        device: {
            piece.setup.quantization: piece.worth for piece in calibration.slices((("onnxruntime", device),), place)
        }
        for device in ("cpu", "cuda:0")
    }
    assert worth["cuda:0"]["fp16"] > worth["cpu"]["fp16"]
    assert worth["cuda:0"]["int4-acc0"] < worth["cpu"]["int4-acc0"]


def test_variants_that_are_named_take_the_place_of_the_usual_ones() -> None:
    pieces = calibration.slices(CPU[:1], HERE, ("phi-2", "phi-1.5"))
    assert {piece.setup.variant for piece in pieces} == {"phi-2", "phi-1.5"}
    assert [piece.setup.variant for piece in calibration.wholes(CPU, ("phi-1.5", "phi-2"))] == ["phi-2", "phi-1.5"]
    with pytest.raises(PhibenchError, match="phi-9"):
        calibration.slices(CPU[:1], HERE, ("phi-9",))


def test_the_first_whole_is_of_at_least_2_4_gb_and_the_next_are_smaller() -> None:
    sizes = [
        backends.plan(backends.load("llama_cpp"), catalog.variant(p.setup.variant), p.setup.quantization).weights_bytes
        for p in calibration.wholes(CPU)
    ]
    assert sizes[0] >= 2.4e9
    assert sizes == sorted(sizes, reverse=True)
    assert {str(w) for p in calibration.wholes(CPU) for w in p.suite.workloads()} == {"pp256", "tg16"}


COSTS = st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 20)), min_size=1, max_size=len(SLICES))


def costed(pairs: list[tuple[float, float]]) -> list[tuple[Piece, Seconds]]:
    return [(SLICES[n], Seconds(write_s=w, launch_s=s)) for n, (w, s) in enumerate(pairs)]


@given(COSTS, st.floats(1, 300))
def test_what_fits_a_budget_is_the_beginning_of_the_order_and_fits(
    pairs: list[tuple[float, float]], budget: float
) -> None:
    costs = costed(pairs)
    count = calibration.fitting(costs, budget)
    took = [seconds.all_s(piece.suite.launches) for piece, seconds in costs]
    assert sum(took[:count]) <= budget + 1e-6
    assert count == len(costs) or sum(took[: count + 1]) > budget - 1e-6
    if count:
        assert calibration.fitting(costs, budget * 2) >= count


@given(st.floats(1, 600))
def test_the_check_is_the_largest_that_is_a_fair_part_of_the_budget(budget: float) -> None:
    costs = [(p, Seconds(write_s=w, launch_s=w)) for p, w in zip(calibration.wholes(CPU), (15, 8, 3), strict=True)]
    found = calibration.checked(costs, budget)
    fair = [pair for pair in costs if pair[1].all_s(1) <= 0.3 * budget]
    assert found == (fair[0] if fair else None)


# ------------------------------------------------------------------------------------------ the deadline


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def task(number: int, launches: int, layers: int | None = 2) -> Task:
    suite = Suite(name="s", question="?", metrics=("prefill_tps",), prompt_tokens=(8,), launches=launches)
    setup = msgspec.structs.replace(fakes.SETUP, options=(("threads", str(number + 1)),))
    return msgspec.structs.replace(prepare((setup,), suite, machine())[0], layers=layers)


TASKS = tuple(task(number, launches) for number, launches in enumerate((2, 2, 2, 1, 1, 1)))
CHECK = task(9, 1, layers=None)
RUN = msgspec.structs.replace(fakes.run(), suite=msgspec.structs.replace(fakes.run().suite, launches=2))


def ran(seconds: list[float], off: float, budget: float, check_s: float, *, sure: bool = False) -> tuple[
    list[tuple[int, int]], float, Deadline
]:  # fmt: skip
    """(task, launch) that were begun, when all had ended, and the deadline; ``off``: what launches took against what
    they should. The check is the last task."""
    clock = Clock()
    tasks, expected = (*TASKS, CHECK), (*seconds, check_s)
    known = [(one, Seconds(write_s=0.0, launch_s=s)) for one, s in zip(tasks, expected, strict=True)]
    deadline = Deadline(known, clock.now + budget, clock, sure=sure)
    begun = []
    for one, _, launch in record.in_turns(record.owed(RUN, tasks), tasks):
        if deadline.allows(one, launch):
            began = clock.now
            clock.now += expected[tasks.index(one)] * off
            deadline.took(one, launch, began)
            begun.append((tasks.index(one), launch))
    return begun, clock.now - 1000.0, deadline


SIX = st.lists(st.floats(0.5, 20), min_size=6, max_size=6)


@given(SIX, st.floats(0.3, 1.1), st.floats(5, 200), st.floats(1, 30))
def test_a_deadline_is_kept_and_what_says_most_comes_first(
    seconds: list[float], off: float, budget: float, check_s: float
) -> None:
    begun, took, deadline = ran(seconds, off, budget, check_s)
    assert took <= budget + 1e-6
    first = [number for number, launch in begun if launch == 0 and number < len(TASKS)]
    assert first == list(range(len(first)))
    second = [number for number, launch in begun if launch == 1]
    assert second == sorted(second)
    assert set(second) == {n for n in first if TASKS[n].suite.launches == 2}  # room was kept for them
    assert not first or (len(TASKS), 0) in begun  # and for the check
    done_or_told = {number for number, _ in begun} | {(*TASKS, CHECK).index(one) for one, _ in deadline.left_out}
    assert done_or_told == set(range(7))


def test_what_launches_take_corrects_what_is_expected_of_the_next() -> None:
    slow, took, _ = ran([2.0] * 6, 4.0, 60.0, 2.0)
    assert (len(slow), took) == (7, 56.0)
    quick, took, _ = ran([8.0] * 6, 0.25, 60.0, 8.0)
    assert (len(quick), took) == (10, 20.0)


def test_launches_that_are_slower_at_last_cost_second_ones_of_what_says_least() -> None:
    clock = Clock()
    tasks = TASKS[:3]
    deadline = Deadline([(one, Seconds(write_s=0.0, launch_s=1.0)) for one in tasks], clock.now + 20.0, clock)
    for one in tasks:
        assert deadline.allows(one, 0)
        began = clock.now
        clock.now += 1.0
        deadline.took(one, 0, began)
    clock.now += 14.5  # something else
    allowed = []
    for one in tasks:
        allowed.append(deadline.allows(one, 1))
        clock.now += 1.0 if allowed[-1] else 0.0
    assert allowed == [True, True, False]
    assert deadline.left_out == [(tasks[2], 1)]


def test_the_start_of_a_worker_that_stays_is_counted_once() -> None:
    clock = Clock()
    tasks = TASKS[:3]
    deadline = Deadline([(one, Seconds(write_s=0.0, launch_s=1.0, start_s=9.0)) for one in tasks], 1015.8, clock)
    for one, seconds in zip(tasks, (10.0, 1.0, 1.0), strict=True):
        assert deadline.allows(one, 0)
        began = clock.now
        clock.now += seconds
        deadline.took(one, 0, began)
    assert [deadline.allows(one, 1) for one in reversed(tasks)] == [True, True, True]
    costs = [(piece, Seconds(write_s=1.0, launch_s=2.0, start_s=9.0)) for piece in SLICES[:2] * 2]  # of two engines
    assert list(calibration.totals_s(costs)) == [14.0, 28.0, 33.0, 38.0]


def test_a_file_that_is_written_first_is_not_counted_for_the_next_launch() -> None:
    clock = Clock()
    deadline = Deadline([(TASKS[0], Seconds(write_s=9.0, launch_s=1.0))], clock.now + 12.5, clock)
    assert deadline.allows(TASKS[0], 0)
    began = clock.now
    clock.now += 9.0
    deadline.wrote()
    clock.now += 1.0
    deadline.took(TASKS[0], 0, began)
    assert deadline.allows(TASKS[0], 1)


def test_what_writing_took_corrects_what_is_expected_of_the_next_file() -> None:
    for wrote, allowed in ((1.0, True), (10.0, False)):
        clock = Clock()
        known = [(one, Seconds(write_s=10.0, launch_s=1.0)) for one in TASKS[3:5]]
        deadline = Deadline(known, clock.now + 16.0, clock)
        assert deadline.allows(TASKS[3], 0)
        began = clock.now
        clock.now += wrote
        deadline.wrote()
        clock.now += 1.0
        deadline.took(TASKS[3], 0, began)
        assert deadline.allows(TASKS[4], 0) is allowed


def test_an_engine_that_died_twice_and_never_measured_is_not_tried_again() -> None:
    for measured_before in (False, True):
        deadline = Deadline([(one, Seconds(write_s=0.0, launch_s=1.0)) for one in TASKS], 1e9, Clock())
        job = Job(
            setup=TASKS[0].setup, suite=TASKS[0].suite, workloads=TASKS[0].workloads(), artifact=NO_FILE, threads=1
        )
        work = fakes.workload(8, 0)
        if measured_before:
            deadline.heard(job, fakes.measured(work))
        for _ in range(2):
            assert deadline.allows(TASKS[0], 0)
            deadline.heard(job, msgspec.structs.replace(fakes.failed(work, "died"), kind="signal"))
        assert deadline.allows(TASKS[1], 0) is measured_before


def test_a_check_that_is_sure_is_measured_whatever_it_takes() -> None:
    assert ran([5.0] * 6, 1.0, 1.0, 50.0, sure=True)[0] == [(6, 0)]
    assert ran([5.0] * 6, 1.0, 1.0, 50.0)[0] == []


def test_a_task_with_one_launch_takes_part_in_the_first_alone() -> None:
    turns = [(TASKS.index(one), launch) for one, _, launch in record.owed(RUN, TASKS)]
    assert turns == [*((n, 0) for n in range(6)), (2, 1), (1, 1), (0, 1)]


# ------------------------------------------------------------------------------------------ what time is left for


def test_answers_of_slices_alone_are_measured_again_but_for_those_behind_a_context() -> None:
    assert not any(piece.again for piece in calibration.wholes(CPU))
    for piece in SLICES:
        wanted = tuple(w for w in piece.suite.workloads() if not w.prompt_tokens)
        assert calibration.answers(piece).workloads() == wanted, piece.name
        assert not piece.again or piece.suite.depths == (0,), piece.name
    types = {kind for piece in SLICES if piece.again for kind in piece.teaches}
    assert types >= {kind for piece in SLICES for kind in piece.teaches if kind != KV}


def test_a_shorter_task_owes_what_its_longer_one_has_not_measured() -> None:
    test = fakes.workload(0, 8)
    suite = Suite(name="s", question="?", metrics=("decode_tps",), new_tokens=(8,), launches=4)
    again = msgspec.structs.replace(task(0, 2), suite=suite)
    had = [msgspec.structs.replace(fakes.measured(test), setup=again.setup, launch=launch) for launch in range(2)]
    had = [msgspec.structs.replace(one, artifact=msgspec.structs.replace(one.artifact, layers=2)) for one in had]
    done = msgspec.structs.replace(RUN, results=tuple(had))
    assert [(works, launch) for _, works, launch in record.owed(done, [again])] == [((test,), 2), ((test,), 3)]


@given(st.lists(st.floats(0.1, 20), min_size=2, max_size=6), st.floats(0.3, 3.0), st.floats(0, 100))
def test_what_time_is_left_for_ends_in_time_once_its_length_is_known(
    seconds: list[float], off: float, left_s: float
) -> None:
    clock = Clock()
    timed = [(one, s) for one, s in zip(TASKS, seconds, strict=False)]
    ends = clock.now + left_s
    spare, begun = Spare(timed, ends, clock), []
    for launch in range(4):
        for number, (one, s) in enumerate(timed):
            if not spare.allows(one, launch):
                continue
            before, clock.now = clock.now, clock.now + s * off
            spare.took(one, launch, before)
            begun.append((number, launch))
            assert clock.now <= ends or (launch == 0 and off > 1)  # only what nobody knew to take so long
    assert bool(begun) == any(1000.0 + 1.1 * s <= ends for s in seconds)


def test_of_a_slice_that_failed_no_answer_is_tried_again() -> None:
    spare = Spare([(TASKS[0], 1.0), (TASKS[1], 1.0)], 1e9, Clock())
    job = Job(
        setup=TASKS[0].setup, suite=TASKS[0].suite, workloads=TASKS[0].workloads(), threads=1,
        artifact=msgspec.structs.replace(NO_FILE, layers=TASKS[0].layers),
    )  # fmt: skip
    spare.heard(job, fakes.measured(fakes.workload(8, 0)))
    assert spare.allows(TASKS[0], 1)
    spare.heard(job, fakes.failed(fakes.workload(8, 0), "died"))
    assert [spare.allows(one, 2) for one in TASKS[:2]] == [False, True]
