"""What ``phibench calibrate`` would measure here, in which order, and how long each of it should take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from phibench import backends
from phibench.analysis import trust
from phibench.cli import choice
from phibench.core import units
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import LeftOut, Machine, Noun, Setup, Suite, Workload
from phibench.measure import calibration
from phibench.measure.calibration import Piece, Place, Seconds
from phibench.measure.launch import stays
from phibench.measure.tasks import Task, prepare
from phibench.predict import run_time
from phibench.predict.speed import Knowledge
from phibench.synth import cache
from phibench.verify import selftest

_START_S = 0.5  # of a worker, without its engine
# Measured on two cores with a virtual disk; a launch that takes longer corrects what is expected of the next.
_WRITE_BYTES_S, _WRITE_START_S, _OPEN_BYTES_S, _OPEN_START_S = 300e6, 0.4, 1.5e9, 0.1

Item = tuple[Piece, Task, Seconds]


class Plan(Noun, frozen=True, kw_only=True):
    """What is measured, in order, the check before what says less than it; and in words what is not."""

    machine: Machine
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    broken: bool = False  # an engine that was asked for cannot be used


def places(machine: Machine, names: Sequence[str]) -> tuple[Place, ...]:
    """Of these backends each device that the installed build reaches and can use, the usual backend's first."""
    unusable = {d.kind for d in machine.devices if any(problem.kind == "unusable" for problem in d.problems)}
    ordered = sorted(names, key=backends.in_order().index)
    reached = [(name, kind) for name in ordered for kind in selftest.devices(backends.load(name), machine)]
    return tuple((name, kind) for name, kind in reached if kind not in unusable)


def planned(
    machine: Machine, found: Sequence[Place], known: Knowledge, left_s: float, models: Sequence[str] = ()
) -> Plan:
    """What would be measured if there were time, and the check that the seconds that are left allow.

    Raises PhibenchError (exit 1) where nothing can be.
    """
    left_out: list[LeftOut] = []
    broken, usable = False, []
    for backend, device in found:
        setup = Setup(variant=calibration.HEAD_OF, quantization="", backend=backend, device=device)
        if why := trust.objection(setup, machine):
            left_out.append(LeftOut(what=f"{backend}/{device}", reason=why, setup=setup))
            broken = True
        else:
            usable.append((backend, device))
    pieces, refused = able(calibration.slices(usable, machine, models), machine, known)
    wholes, _ = able(calibration.wholes(usable, models), machine, known)
    check = calibration.checked([(piece, seconds) for piece, _, seconds in wholes], left_s)
    checks = [item for item in wholes if check and item[0] == check[0]]
    if not pieces:
        what = "; ".join(map(str, (*left_out, *refused)))
        raise PhibenchError(f"nothing can be measured here: {what}", FAILED)
    if wholes and not checks:
        left_out.append(LeftOut(what="a whole file as a check", reason="no time", late=True))
    # not at the very end: what takes longer than it should must not cost the check
    of_all = sum(math.isinf(piece.worth) for piece, _, _ in pieces)
    items = (*pieces[:of_all], *checks, *pieces[of_all:])
    return Plan(machine=machine, items=items, left_out=(*left_out, *refused), broken=broken)


def in_time(plan: Plan, left_s: float) -> tuple[tuple[Item, ...], tuple[LeftOut, ...]]:
    """What is done in the seconds that are left by what each should take, and all that is left out."""
    left_s *= 1 - calibration.AGAIN_SHARE
    slices = [item for item in plan.items if item[0].layers is not None]
    checks = [item for item in plan.items if item[0].layers is None]
    room = left_s - sum(seconds.all_s(piece.suite.launches) for piece, _, seconds in checks)
    count = calibration.fitting([(piece, seconds) for piece, _, seconds in slices], room)
    told = [late(piece) for piece, _, _ in slices[count:]]
    return (*slices[:count], *checks), (*plan.left_out, *told)


def able(pieces: Sequence[Piece], machine: Machine, known: Knowledge) -> tuple[list[Item], list[LeftOut]]:
    """Those that memory and disk have room for, with what they should take, what teaches most in a second first; and
    why not of the others."""
    found: list[Item] = []
    refused: list[LeftOut] = []
    for piece in pieces:
        setup = trust.with_options(piece.setup, machine)
        task = prepare((setup,), piece.suite, machine, layers=piece.layers)[0]
        room = cache.room_bytes(choice.DISK_RESERVE_BYTES)
        reason = choice.refused(task)
        if task.write_bytes > room and not reason:
            reason = f"needs {units.gb(task.write_bytes)} of disk, only {units.gb(room)} is available"
        if reason:
            refused.append(LeftOut(what=piece.name, reason=reason, setup=setup))
        else:
            found.append((piece, task, expected(task, machine, known)))
    found.sort(key=lambda item: -item[0].worth / item[2].all_s(item[0].suite.launches))
    return found, refused


def expected(task: Task, machine: Machine, known: Knowledge) -> Seconds:
    """What writing its file and one launch of it should take, and starting its worker."""
    tested = trust.of(machine, task.setup.backend, task.setup.device)
    assert task.plan is not None
    start = _START_S + (tested.import_s if tested else 1.0)
    opening = _OPEN_START_S + task.plan.weights_bytes / _OPEN_BYTES_S
    estimate = run_time.estimate_s(task.setup, _once(task), task.workloads(), task.layers, known)
    measuring = estimate.value if estimate else start
    write = _WRITE_START_S + task.write_bytes / _WRITE_BYTES_S if task.write_bytes else 0.0
    if stays(task.setup):
        return Seconds(write_s=write, launch_s=opening + measuring, start_s=start)
    return Seconds(write_s=write, launch_s=start + opening + measuring)


def _once(task: Task) -> Suite:
    return msgspec.structs.replace(task.suite, launches=1)


def again(plan: Plan) -> list[tuple[Task, float]]:
    """What is measured again while there is time, and the seconds that a launch should take."""
    known, found = Knowledge(plan.machine), []
    for piece, task, _ in plan.items:
        if piece.again:
            shorter = msgspec.structs.replace(task, suite=calibration.answers(piece))
            found.append((shorter, expected(shorter, plan.machine, known).launch_s))
    return found


def fitting(again_s: Sequence[tuple[Task, float]], left_s: float) -> list[Workload]:
    """What there should be time for, all in turns."""
    found: list[Workload] = []
    for task, seconds in [pair for _ in range(calibration.AGAIN) for pair in again_s]:
        left_s -= seconds
        if left_s < 0:
            break
        found += task.suite.workloads()
    return found


def late(piece: Piece, launch: int = 0) -> LeftOut:
    """What there was no time for."""
    reason = "no time for its second launch" if launch else "no time"
    return LeftOut(what=piece.name, reason=reason, setup=piece.setup, late=True)


def late_of(plan: Plan, left_out: Sequence[tuple[Task, int]]) -> tuple[LeftOut, ...]:
    """Of these launches."""
    pieces = {(task.setup, task.layers, task.suite): piece for piece, task, _ in plan.items}
    return tuple(late(pieces[task.setup, task.layers, task.suite], launch) for task, launch in left_out)
