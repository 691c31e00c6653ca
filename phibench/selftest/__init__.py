"""Is an engine to be trusted on this processor? Asked once per build and processor, of a tiny model, before a real one.

An engine build may crash, hang or compute wrong on a processor that its authors did not have. So before its first use
it answers a tiny model in a process of its own. Where it fails, the options that its backend calls safe are tried in
their order; the first that pass become part of every setup. What was found stays in the cache, under the build of the
engine and the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from phibench import backends, inventory, processes, trust
from phibench.backends import Backend
from phibench.nouns import Artifact, Job, Kind, Machine, SelfTest, Setup
from phibench.probe import conditions
from phibench.processes import Child
from phibench.selftest import child, weights

SILENCE_S = 60.0  # of a tiny model that takes a second; importing an engine on a slow disk takes longer
_DOING = {"opening": "when it opened", "prefill": "in prefill of", "decode": "in decode of"}
Tell = Callable[[str], None]


class _Attempt(NamedTuple):
    """``refused``: nothing can be said, and why; ``kind`` None then, and where it passed."""

    kind: Kind | None = None
    reason: str = ""
    refused: str = ""
    placement: str = ""
    kl_max: float = 0.0
    seconds: float = 0.0
    import_s: float = 0.0


def ready(setups: Sequence[Setup], machine: Machine, tell: Tell) -> tuple[tuple[Setup, ...], Machine]:
    """The setups as they can be used here, and the machine with what was found of their engines.

    An engine that failed with its usual options gets its safe ones, but for what a setup itself asks for. One that
    is not usable at all keeps its setups: ``trust.objection`` says why they cannot run. ``tell`` hears what a person
    should know.
    """
    machine = tested(machine, dict.fromkeys((setup.backend, setup.device) for setup in setups), tell)
    return tuple(trust.with_options(setup, machine) for setup in setups), machine


def tested(machine: Machine, places: Sequence[tuple[str, str]] | dict[tuple[str, str], None], tell: Tell) -> Machine:
    """The machine with what is known of these (backend, device), tested now where it is not.

    What was found not usable is tried again: the reason may be gone.
    """
    for name, device in places:
        backend = backends.load(name)
        if not backend.FORMATS or backend.installed() is None:
            continue
        known = trust.of(machine, name, device)
        if known is None or not known.usable:
            found = examine(backend, device, machine, tell)
            if found:
                inventory.remember(found)
                kept = tuple(one for one in machine.selftests if (one.backend, one.device) != (name, device))
                machine, known = msgspec.structs.replace(machine, selftests=(*kept, found)), found
        if known and known.reason:
            tell(trust.sentence(known))
    return machine


def examine(backend: Backend, device: str, machine: Machine, tell: Tell) -> SelfTest | None:
    """Try the usual options, then the safe ones; None where nothing can be said of the engine.

    Nothing can be said where a package is missing, a device is not here, or somebody else killed the process.
    """
    build, name = backends.build(backend), backend.NAME
    tell(f"testing {name} {backend.installed()} on a tiny model, once for this build and processor")
    first: _Attempt | None = None
    for options in ({}, *backend.SAFE):
        attempt = _attempt(backend, device, options, machine.limits.threads)
        if attempt.refused:
            if first is None:
                return None
            continue
        first = first or attempt
        if attempt.kind is None:
            return _found(name, device, build, options, first, attempt)
    assert first is not None
    return _found(name, device, build, {}, first, None)


def _found(
    name: str, device: str, build: str | None, options: dict[str, str], first: _Attempt, passed: _Attempt | None
) -> SelfTest:
    best = passed or _Attempt()
    return SelfTest(
        backend=name, device=device, build=build or "", processor=inventory.processor(), usable=passed is not None,
        options=options, kind=first.kind, reason=first.reason, placement=best.placement,
        kl_max=best.kl_max if passed else None, seconds=round(best.seconds, 3), import_s=round(best.import_s, 3),
        at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )  # fmt: skip


def _attempt(backend: Backend, device: str, options: dict[str, str], threads: int) -> _Attempt:
    setup = Setup(
        variant=weights.VARIANT, quantization=backend.QUANTIZATION, backend=backend.NAME, device=device,
        options=tuple(sorted(options.items())),
    )  # fmt: skip
    nothing = Artifact(path="", bytes=0, weights="real")
    job = Job(setup=setup, suite=child.SUITE, workloads=(), artifact=nothing, threads=threads)
    answers: list[child.Answer] = []
    with Child(child.__name__, oom_kills=conditions.oom_kills) as process:
        process.tell(msgspec.json.encode(child.Question(job=job)))
        for line in process.lines(processes.silence_s(SILENCE_S)):
            answers.append(msgspec.json.decode(line, type=child.Answer))
            if answers[-1].last:
                return _told(backend, answers)
        end, phase = process.end(), process.phase
    if end.signal == "SIGKILL" or end.kind == "out_of_memory":
        return _Attempt(refused=f"its self-test {end}")
    doing = f"{_DOING.get(phase, 'when it started with')} a tiny model"
    plain, said = msgspec.structs.replace(end, said=""), f": {end.said}" if end.said else ""
    return _Attempt(kind=end.kind, reason=f"{backend.NAME} {backend.installed()} {plain} {doing}{said}")


def _told(backend: Backend, answers: Sequence[child.Answer]) -> _Attempt:
    last = answers[-1]
    reason = f"{backend.NAME} {backend.installed()} gives wrong numbers: {last.reason}" if last.kind else ""
    if last.kind == "out_of_memory":
        return _Attempt(refused=f"{backend.NAME} has no memory for a tiny model: {last.reason}")
    return _Attempt(
        kind=last.kind, reason=reason, refused=last.refused, placement=last.placement,
        kl_max=max(one.kl_max or 0.0 for one in answers), seconds=sum(one.seconds for one in answers),
        import_s=sum(one.import_s for one in answers),
    )  # fmt: skip
