"""What quickstart measures: which engine, and which Phi fits memory and disk here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from phibench import backends, catalog
from phibench.analysis import trust
from phibench.core import units
from phibench.core.errors import NOTHING_FITS, PhibenchError
from phibench.core.nouns import Machine, Setup, Suite
from phibench.measure import suites
from phibench.measure.tasks import Task, prepare
from phibench.synth import cache
from phibench.verify import selftest


def usual_setup(backend: str) -> Setup:
    """What is measured of a backend where it fits."""
    module = backends.load(backend)
    return Setup(variant="phi-4-mini-instruct", quantization=module.QUANTIZATION, backend=module.NAME)


WANTED = usual_setup(backends.DEFAULT)
DISK_RESERVE_BYTES = 1 << 30  # never fill a disk to the brim for a benchmark


def engines(wanted: Sequence[str], everything: bool) -> tuple[tuple[str, ...], list[str]]:
    """The backends asked for that are installed, and a line for each that is not.

    Raises PhibenchError for an unknown name, and for a backend that runs no Phi.
    """
    names = backends.names() if everything else wanted
    modules = {module.NAME: module for module in map(backends.load, names) if module.RECOMMENDABLE or not everything}
    if other := next((name for name, module in modules.items() if not module.RECOMMENDABLE), None):
        raise PhibenchError(f"{other} runs no Phi, so there is nothing to recommend; leave it out of -b")
    absent = [module for module in modules.values() if module.installed() is None]
    lines = [f"{module.NAME} is not installed: {backends.install_line(module)}" for module in absent]
    return tuple(name for name, module in modules.items() if module not in absent), lines


def usual() -> tuple[str]:
    """The backend that is measured where nobody names one: the usual one, or one that is installed instead."""
    known = [module for module in map(backends.load, backends.in_order()) if module.RECOMMENDABLE]
    return (next((module.NAME for module in known if module.installed() is not None), backends.DEFAULT),)


def ways_in() -> Iterator[str]:
    """For whoever has no engine: one that comes ready, and the usual one."""
    for module in dict.fromkeys((backends.ready(), backends.load(backends.DEFAULT))):
        needs = backends.COMPILES if backends.needs_compiler(module) else "needs no compiler"
        yield f"{module.NAME} is not installed, {needs}: {backends.install_line(module)}"


def trusted(machine: Machine, names: Sequence[str]) -> tuple[Machine, tuple[str, ...]]:
    """The machine with what self-tests say of these backends, and those that can be used."""
    machine = selftest.tested(machine, [(name, WANTED.device) for name in names], lambda line: print(line, flush=True))
    setups = (msgspec.structs.replace(WANTED, backend=name) for name in names)
    return machine, tuple(setup.backend for setup in setups if not trust.objection(setup, machine))


def planned(machine: Machine, names: Sequence[str]) -> tuple[tuple[Task, ...], Suite, list[str]]:
    """What is run of the suite ``quick``, and notes on what is not."""
    suite = suites.load("quick")
    if len(names) > 1:
        return compare(suite, machine, names)
    task, note = choose(suite, machine, names[0])
    return (task,), suite, [note] if note else []


def choose(suite: Suite, machine: Machine, backend: str = backends.DEFAULT) -> tuple[Task, str]:
    """Phi-4-mini as the backend usually has it, or with a note the largest smaller file that fits memory and disk here.

    Raises PhibenchError (exit 3) when none does.
    """
    wanted = usual_setup(backend)
    task = prepare((trust.with_options(wanted, machine),), suite, machine)[0]
    why = obstacle(task)
    if why is None:
        return task, ""
    assert task.plan is not None
    for setup in (trust.with_options(one, machine) for one in smaller_setups(task.plan.weights_bytes, backend)):
        smaller = prepare((setup,), suite, machine)[0]
        if obstacle(smaller) is None:
            return smaller, f"{wanted}: {why}.\nTaking the largest that fits instead: {setup}"
    raise PhibenchError(f"{wanted}: {why}; and no smaller Phi for {backend} fits either", NOTHING_FITS)


def compare(suite: Suite, machine: Machine, names: Sequence[str]) -> tuple[tuple[Task, ...], Suite, list[str]]:
    """Phi-4-mini on several backends, the suite in turns, and notes on what was left out.

    Raises PhibenchError (exit 2 for a backend that is not here, exit 3 when it fits on none).
    """
    notes, tasks = [], []
    for name in names:
        setup = trust.with_options(usual_setup(name), machine)
        task = prepare((setup,), suite, machine)[0]
        if why := obstacle(task):
            notes.append(f"{setup} is left out: {why}")
        else:
            tasks.append(task)
    if not tasks:
        raise PhibenchError("; ".join(notes), NOTHING_FITS)
    suite = suites.in_turns(suite) if len(tasks) > 1 else suite
    return tuple(msgspec.structs.replace(task, suite=suite) for task in tasks), suite, notes


def obstacle(task: Task) -> str | None:
    """Why it cannot be measured here; None where it can."""
    if why := refused(task):
        return why
    room = cache.room_bytes(DISK_RESERVE_BYTES)
    if task.write_bytes > room:
        return (
            f"needs {units.gb(task.write_bytes)} of disk in {cache.folder()}, where only {units.gb(room)} is available "
            "(phibench cache shows the limit)"
        )
    return None


def refused(task: Task) -> str | None:
    """Why a rule will not have it measured; how much the disk lacks is not asked."""
    refusal = task.objection or next((refusal for _, refusal in task.refused), None)
    return refusal.reason if refusal else None


def smaller_setups(below_bytes: int, backend: str = backends.DEFAULT) -> list[Setup]:
    """Every setup of a variant that the backend runs whose weights are smaller, largest first."""
    found, module = [], backends.load(backend)
    for variant in catalog.variants():
        runtime = module.runs(variant)
        if not (runtime and runtime.runs) or backends.objection(module, variant):
            continue
        for quantization in catalog.quantizations(module.FORMATS[0]):
            size = backends.plan(module, variant, quantization.id).weights_bytes
            if size < below_bytes:
                setup = Setup(variant=variant.id, quantization=quantization.id, backend=module.NAME)
                found.append((size, setup))
    return [setup for _, setup in sorted(found, key=lambda pair: (-pair[0], pair[1]))]
