"""A request's setups as tasks: planned, and refused where they cannot run. Nothing is written or opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phibench import backends, catalog
from phibench.analysis import trust
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Machine, Need, Noun, Setup, Suite, Variant, Workload

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

NO_FILE = Artifact(path="", bytes=0, weights="synthetic")
_NO_MODEL = Need(weights_bytes=0, kv_bytes=0, compute_bytes=0, runtime_bytes=0, because="no model")


class Refusal(Noun, frozen=True):
    """Why something cannot run here, and what would change that ("" where nothing would)."""

    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class Task(Noun, frozen=True, kw_only=True):
    """One setup before anything starts: what it will occupy, and why it cannot run here (or None)."""

    setup: Setup
    suite: Suite
    threads: int
    need: Need
    needs: tuple[tuple[Workload, Need], ...] = ()  # of each test; ``need`` is that of the largest
    plan: Plan | None = None  # None: the backend opens no file
    artifact: Artifact | None = None  # a real file that is already here
    layers: int | None = None
    write_bytes: int = 0  # of a synthetic file that is not in the cache yet
    objection: Refusal | None = None
    refused: tuple[tuple[Workload, Refusal], ...] = ()  # depths that cannot be measured here where others can, and why
    force: bool = False

    def workloads(self) -> tuple[Workload, ...]:
        """The tests that can run here, if the setup can at all."""
        return tuple(w for w in self.suite.workloads() if w not in dict(self.refused))


def prepare(
    setups: Sequence[Setup],
    suite: Suite,
    machine: Machine,
    *,
    layers: int | None = None,
    real: Artifact | None = None,
    real_plan: Plan | None = None,
    force: bool = False,
) -> tuple[Task, ...]:
    """Plan every setup: tensors, memory, disk. Nothing is written or opened.

    Raises PhibenchError for an unknown name, a backend that is not installed, an impossible shape.
    """
    return tuple(_task(setup, suite, machine, layers, real, real_plan, force) for setup in setups)


def _task(
    setup: Setup, suite: Suite, machine: Machine,
    layers: int | None, real: Artifact | None, real_plan: Plan | None, force: bool,
) -> Task:  # fmt: skip
    from phibench import synth

    backend = backends.require(setup.backend)
    backends.check_options(setup)
    backends.check_device(setup)
    threads = int(backends.effective(setup).get("threads") or machine.limits.threads)
    if not backend.FORMATS:
        return Task(setup=setup, suite=suite, threads=threads, need=_NO_MODEL)
    variant, fmt = catalog.variant(setup.variant), backend.FORMATS[0]
    plan = real_plan or backends.plan(backend, variant, setup.quantization, layers)
    needs = _needs(setup, suite, variant, plan)
    refused = _refused(setup, needs, variant.context_tokens, None if force else machine.limits.free_bytes)
    able = [w for w in needs if w not in refused]
    size = {w: need.total_bytes for w, need in needs.items()}
    told = max(able, key=size.__getitem__) if able else min(needs, key=size.__getitem__)  # if not even the smallest
    objection = None if able else refused[told]
    if (why := trust.objection(setup, machine)) and not force:
        objection = Refusal(why, "--force runs it anyway")
    write = 0 if real else synth.write_bytes(variant, setup.quantization, fmt, layers)
    return Task(
        setup=setup, suite=suite, threads=threads, need=needs[told], needs=tuple(needs.items()), plan=plan,
        artifact=real, layers=layers, write_bytes=write, objection=objection,
        refused=tuple(refused.items()), force=force,
    )  # fmt: skip


def _needs(setup: Setup, suite: Suite, variant: Variant, plan: Plan) -> dict[Workload, Need]:
    """Memory of every test."""
    need, options, shape = backends.load(setup.backend).need, backends.effective(setup), variant.shape
    assert shape is not None, "a variant with a plan has a shape"
    return {w: need(plan, shape, w.context, options, w.prompt_tokens, w.batch, w.used) for w in suite.workloads()}


def _refused(
    setup: Setup, needs: dict[Workload, Need], longest: int | None, free: int | None
) -> dict[Workload, Refusal]:
    """The tests that cannot run, and why; ``free`` None: memory is no reason.

    Raises PhibenchError where the variant's context is too short for all, or for a test that was asked for by itself.
    """
    long = [w for w in needs if longest is not None and w.context > longest]
    text = f"{setup.variant} has a context of {units.context(longest or 0)} tokens"
    if any(not (w.depth or w.room) for w in long) or len(long) == len(needs):
        most = max(w.context for w in long)
        raise PhibenchError(f"{text}, the suite needs {most}; take shorter -p, -n, -d or --context")
    big = {w: why for w, need in needs.items() if free is not None and (why := too_big(setup, need, free))}
    return big | {w: Refusal(f"{text}, the test needs {w.context}") for w in long}


def too_big(setup: Setup, need: Need, free: int) -> Refusal | None:
    """Refuse instead of swapping; only what the process may really use counts."""
    if setup.device != "cpu" or need.total_bytes <= free:
        return None
    return Refusal(
        f"needs {units.gib(need.total_bytes)} of memory ({need.because}), "
        f"but this process can use only {units.gib(free)}",
        "choose a smaller quantization or variant, free memory, or use --force",
    )
