"""What measurements on this machine have taught: the rate of each kernel, and how a whole file met its slices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from phibench.core import stats
from phibench.core.metrics import values
from phibench.core.nouns import Check, Estimate, KernelRate, Machine, Measured, Narrowed, Run, Setup
from phibench.predict import costs
from phibench.predict.calibration import METRIC
from phibench.predict.costs import Cost, Phase
from phibench.predict.speed import Knowledge

_PHASES: tuple[Phase, ...] = ("decode", "prefill")
_SHOWN = 0.1  # of the bytes or FLOPs of one measurement: a kernel that is less of every one was not learnt
_UNIT = {"decode": 1e13, "prefill": 1e16}  # bytes or FLOPs that are asked for: what is fixed is nothing beside them


def rates(known: Knowledge, places: Iterable[Setup]) -> tuple[KernelRate, ...]:
    """Of every tensor type that was measured with the engines, devices and options of these setups."""
    return tuple(rate for place in dict.fromkeys(places) for phase in _PHASES for rate in _rates(known, place, phase))


def _rates(known: Knowledge, place: Setup, phase: Phase) -> Iterator[KernelRate]:
    fit = known.fit(place, phase)
    seen: dict[str, float] = {}
    for cost in (point.cost for point in fit.points) if fit else ():
        by_kernel = cost.bytes_by_type if phase == "decode" else cost.flops_by_type
        for kernel, size in by_kernel.items():
            if not kernel.endswith(costs.HEAD):
                seen[kernel] = max(seen.get(kernel, 0.0), size / cost.size)
    for kernel in (kernel for kernel, share in seen.items() if share >= _SHOWN):
        one = _only(place.backend, phase, kernel)
        estimate = known.tokens_s(place, one)
        if estimate and estimate.basis == "calibrated":
            yield KernelRate(
                backend=place.backend, device=place.device, tensor_type=kernel, phase=phase,
                value=estimate.value * one.size, low=estimate.low * one.size, high=estimate.high * one.size,
                unit="B/s" if phase == "decode" else "FLOP/s",
            )  # fmt: skip


def _only(backend: str, phase: Phase, kernel: str) -> Cost:
    """A step, or a prompt, of one kernel alone."""
    size = {kernel: _UNIT[phase]}
    return Cost(
        backend=backend, phase=phase, tokens=1, layers=0, mix="", bytes_by_type=size if phase == "decode" else {},
        flops_by_type=size,
    )  # fmt: skip


def checks(machine: Machine, run: Run) -> tuple[Check, ...]:
    """Each whole that the run measured, beside what its other measurements say of it."""
    found = []
    for one in dict.fromkeys(r.setup for r in run.results if isinstance(r, Measured) and r.artifact.layers is None):
        mine = [r for r in run.results if r.setup == one and isinstance(r, Measured) and r.artifact.layers is None]
        others = tuple(r for r in run.results if r not in mine)
        known = Knowledge(machine, (msgspec.structs.replace(run, results=others),))
        own = Knowledge(machine, (msgspec.structs.replace(run, results=tuple(mine)),))
        found += [check for result in mine for check in _checks(known, own, result)]
    return tuple(found)


def _checks(known: Knowledge, own: Knowledge, result: Measured) -> Iterator[Check]:
    """``own``: of the wholes alone, which tells whether others were at work then."""
    sheet, work = costs.cost_sheet(result.setup), result.workload
    asked: dict[Phase, Cost] = {}
    if work.prompt_tokens:
        asked["prefill"] = costs.prompt(sheet, work.prompt_tokens, work.depth)
    if work.new_tokens:
        asked["decode"] = costs.step(sheet, work.depth + work.prompt_tokens + work.new_tokens / 2)
    for phase, cost in asked.items():
        told, seen = known.tokens_s(result.setup, cost), values(METRIC[phase], work, result.samples)
        if told and seen:
            was = own.tokens_s(result.setup, cost)
            yield Check(
                setup=result.setup, metric=METRIC[phase], predicted=told.value, low=told.low, high=told.high,
                measured=stats.median(seen), doubt=(was.doubt if was else "") or told.doubt,
            )  # fmt: skip


def narrowed(before: Knowledge, after: Knowledge, setups: Iterable[Setup], prompt: int, depth: int) -> list[Narrowed]:
    """What is known of these setups now and was not before: a prompt, and a step at a depth."""
    found = []
    for setup in setups:
        sheet = costs.cost_sheet(setup)
        for cost in (costs.step(sheet, depth), costs.prompt(sheet, prompt)):
            was, now = before.tokens_s(setup, cost), after.tokens_s(setup, cost)
            if now and (was is None or now.high / now.low < was.high / was.low):
                found.append(_one(setup, cost, was, now))
    return found


def _one(setup: Setup, cost: Cost, was: Estimate | None, now: Estimate) -> Narrowed:
    before = (was.low, was.high) if was else None
    return Narrowed(setup=setup, metric=METRIC[cost.phase], before=before, after=(now.low, now.high))
