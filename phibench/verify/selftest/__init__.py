"""Is an engine to be trusted on this processor? Asked once per build and processor, of a tiny model, before a real one.

An engine build may crash, hang or compute wrong on a processor that its authors did not have. So before its first use
it answers a tiny model in a process of its own. Where it fails, the options that its backend calls safe are tried in
their order; the first that pass become part of every setup. What was found stays in the cache, under the build of the
engine and the processor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from phibench import backends
from phibench.analysis import trust
from phibench.backends.contract import Backend
from phibench.core import ends, processes, text
from phibench.core.nouns import Artifact, Job, Kind, Machine, SelfTest, Setup
from phibench.core.processes import Child
from phibench.machine import inventory
from phibench.probe import conditions
from phibench.verify.selftest import answers, child, weights
from phibench.verify.selftest.child import Outcome

SILENCE_S = 60.0  # of a tiny model that takes a second
_DOING = {**ends.DOING, "starting": "when it prepared {}", "opening": "when it opened {}"}
_EVENT = msgspec.json.Decoder(child.Imported | child.Answer)
OnNote = Callable[[str], None]


class _Attempt(NamedTuple):
    """``kind`` of one that failed: how its process died, None where the engine itself said no."""

    outcome: Outcome
    reason: str = ""
    kind: Kind | None = None
    placement: str = ""
    kl_max: float | None = None
    seconds: float = 0.0
    import_s: float = 0.0


def ready(
    setups: Sequence[Setup], machine: Machine, on_note: OnNote, *, force: bool = False
) -> tuple[tuple[Setup, ...], Machine]:
    """The setups as they can be used here, and the machine with what was found of their engines.

    An engine that failed with its usual options gets its safe ones, but for what a setup itself asks for. One that
    is not usable at all keeps its setups: ``trust.objection`` says why they cannot run, unless by ``force``. ``tell``
    hears what a person should know.
    """
    places = dict.fromkeys((setup.backend, setup.device) for setup in setups)
    machine = tested(machine, places, on_note)
    for known in machine.selftests:
        if force and not known.usable and (known.backend, known.device) in places:
            on_note(f"{trust.place(known)} runs anyway: --force")
    return tuple(trust.with_options(setup, machine) for setup in setups), machine


def retest(machine: Machine, on_note: OnNote) -> Machine:
    """The machine with every installed engine tested now, on the cpu and on each GPU that it can use here."""
    places = [
        (name, device)
        for name in backends.names() if backends.load(name).installed() is not None
        for device in devices(backends.load(name), machine)
    ]  # fmt: skip
    others = tuple(one for one in machine.selftests if (one.backend, one.device) not in places)
    return tested(msgspec.structs.replace(machine, selftests=others), places, on_note)


def devices(backend: Backend, machine: Machine) -> Iterator[str]:
    """What this build can use of what is here, as a setup names it: Apple's and Vulkan's have names of their own."""
    gpus = [one.kind for one in machine.devices if one.kind.partition(":")[0] not in ("cpu", "npu")]
    for built in backend.devices():
        kind = built.partition(":")[0]
        own = [gpu for gpu in gpus if gpu.partition(":")[0] == kind]
        if own:
            yield from own
        elif kind == "cpu" or (kind == "vulkan" and gpus) or (kind in ("mps", "coreml") and "metal" in gpus):
            yield built


def tested(machine: Machine, places: Iterable[tuple[str, str]], on_note: OnNote) -> Machine:
    """The machine with what is known of these (backend, device), tested now where it is not.

    What was found not usable is tried again: the reason may be gone.
    """
    for name, device in places:
        backend = backends.load(name)
        if not has_test(backend) or backend.installed() is None:
            continue
        known = trust.of(machine, name, device)
        if known is None or not known.usable:
            known = examine(backend, device, machine, on_note)
            if not known.untested:
                known = inventory.remember(known)
            kept = tuple(one for one in machine.selftests if (one.backend, one.device) != (name, device))
            machine = msgspec.structs.replace(machine, selftests=(*kept, known))
        if said := trust.sentence(known):
            on_note(said)
    return machine


def has_test(backend: Backend) -> bool:
    return bool(backend.FORMATS and answers.quantizations(backend.FORMATS[0]))


def examine(backend: Backend, device: str, machine: Machine, on_note: OnNote) -> SelfTest:
    """Try the usual options, then the safe ones; before these are believed, the usual ones once more.

    ``untested`` where nothing can be said: a package is missing, the device is not here, or something else than the
    engine ended its process.
    """
    found = SelfTest(
        backend=backend.NAME, device=device, build=backends.build(backend) or "", usable=True,
        processor=inventory.processor(device, machine.devices), at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )  # fmt: skip
    on_note(f"testing {trust.place(found)} on a tiny model")

    def attempt(options: dict[str, str]) -> _Attempt:
        return _attempt(backend, device, options, machine.limits.threads)

    first = attempt({})
    if first.outcome == "refused":
        return msgspec.structs.replace(found, untested=text.scrub(first.reason))
    if first.outcome == "passed":
        return _passed(found, first)
    reason = text.scrub(first.reason)
    failed = msgspec.structs.replace(found, kind=first.kind, reason=reason)
    for options in backend.SAFE:
        safe = attempt(options)
        if safe.outcome != "passed":
            continue
        again = attempt({})
        if again.outcome == "passed":
            on_note(f"{reason}; asked again, it is right, so nothing is changed")
            return _passed(found, again)
        return _passed(msgspec.structs.replace(failed, options=options), safe)
    return msgspec.structs.replace(failed, usable=False)


def _passed(found: SelfTest, one: _Attempt) -> SelfTest:
    return msgspec.structs.replace(
        found, placement=one.placement, kl_max=one.kl_max, seconds=round(one.seconds, 3),
        import_s=round(one.import_s, 3),
    )  # fmt: skip


def _attempt(backend: Backend, device: str, options: dict[str, str], threads: int) -> _Attempt:
    """The folder is ours: a child that dies removes nothing."""
    setup = Setup(
        variant=weights.VARIANT, quantization=backend.QUANTIZATION, backend=backend.NAME, device=device,
        options=tuple(sorted(options.items())),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="phibench-selftest-", ignore_cleanup_errors=True) as folder:
        place = Artifact(path=folder, bytes=0, weights="real")
        job = Job(setup=setup, suite=child.SUITE, workloads=(), artifact=place, threads=threads)
        return _asked(f"{backend.NAME} {backend.installed()}", job)


def _asked(engine: str, job: Job) -> _Attempt:
    imported: child.Imported | None = None
    answers: list[child.Answer] = []
    with Child(child.__name__, oom_kills=conditions.oom_kills) as process:
        process.tell(msgspec.json.encode(job))
        for event in process.events(_EVENT, processes.silence_s(SILENCE_S)):
            if isinstance(event, child.Answer):
                answers.append(event)
            elif event.missing or event.broken:
                return (
                    _Attempt("refused", event.missing)
                    if event.missing
                    else _Attempt("failed", f"{engine} {event.broken}")
                )
            else:
                imported = event
            if imported and answers and answers[-1].last:
                return _told(engine, imported, answers)
        end, phase = process.end(), process.phase
    if end.signal == "SIGKILL" or end.kind == "out_of_memory":
        return _Attempt("refused", f"its process {end}")
    if end.kind == "hang" and imported is None:
        return _Attempt("refused", f"its process {end}, before the engine was imported")
    doing = _DOING[phase].format("a tiny model") if imported else "when it was imported"
    return _Attempt("failed", f"{engine} {end.told(doing)}", end.kind)


def _told(engine: str, imported: child.Imported, answers: Sequence[child.Answer]) -> _Attempt:
    last, passed = answers[-1], [one for one in answers if one.outcome == "passed"]
    if last.outcome == "failed":
        return _Attempt("failed", f"{engine} {last.reason}", last.kind)
    if last.outcome == "refused" or not passed:
        return _Attempt("refused", last.reason)
    return _Attempt(
        "passed", placement=passed[-1].placement, kl_max=max(one.kl_max or 0.0 for one in passed),
        seconds=sum(one.seconds for one in answers), import_s=imported.seconds,
    )  # fmt: skip
