"""The setup that a person means, weighed as it is, with its place in the order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from phibench import backends, catalog
from phibench.advise.candidates import Candidate, Narrowed, candidates
from phibench.advise.ranking import order_key
from phibench.advise.weighing import Scales, Weighed
from phibench.catalog import builds
from phibench.core import units
from phibench.core.errors import NOTHING_FITS, PhibenchError, unknown
from phibench.core.nouns import Goal, Machine, Run, Setup, Verdict
from phibench.predict.speed import Knowledge


class AskedFor(NamedTuple):
    """``above``: what stands directly before it, None of the first; ``place`` among all that are tried, None of what is
    only tried when somebody asks for it."""

    one: Candidate
    weighed: Weighed
    above: Verdict | None
    place: int | None
    verdicts: Sequence[Verdict]

    @property
    def setup(self) -> Setup:
        return self.weighed.verdict.setup


def find(text: str, machine: Machine, goal: Goal, runs: Sequence[Run], verdicts: Sequence[Verdict]) -> AskedFor:
    """``text`` is a setup, a variant with its quantization, or a variant alone: then its best row is meant.

    ``verdicts``: all that are tried, best first, for ``goal`` as it was asked for. Raises PhibenchError (exit 2) for a
    name of nothing, with the nearest one.
    """
    known = Knowledge(machine, runs)
    setup = _whole(text, machine, verdicts) if "@" in text else _best(text, machine, goal, verdicts)
    one = candidate_of(machine, setup)
    weighed = Scales(known, goal).exactly(one, setup)
    key = order_key(goal, weighed.verdict)
    above = [v for v in verdicts if v.setup != setup and order_key(goal, v) < key]
    place = next((i for i, v in enumerate(verdicts, start=1) if v.setup == setup), None)
    return AskedFor(one, weighed, above[-1] if above else None, place, verdicts)


def _whole(text: str, machine: Machine, verdicts: Sequence[Verdict]) -> Setup:
    """As it is written; without any option, where nothing is tried like that, as advice would set them."""
    asked = units.setup(text)
    backend = backends.load(asked.backend)
    if not backend.RECOMMENDABLE:
        raise PhibenchError(f"{backend.NAME} answers nothing, so there is nothing to say about it")
    setup = catalog.resolve(msgspec.structs.replace(asked, backend=backend.NAME), backend.FORMATS)
    kinds = {device.kind for device in machine.devices}
    if setup.device not in kinds and f"{setup.device}:0" in kinds:
        setup = msgspec.structs.replace(setup, device=f"{setup.device}:0")
    if setup.device not in kinds:
        raise unknown("device", setup.device, kinds, f"{machine.name} has {', '.join(sorted(kinds))}")
    backends.check_options(setup)
    rows = [v.setup for v in verdicts if msgspec.structs.replace(v.setup, options=()) == setup]
    return setup if setup.options or setup in rows or not rows else rows[0]


def _best(text: str, machine: Machine, goal: Goal, verdicts: Sequence[Verdict]) -> Setup:
    name, _, kind = (part.strip() for part in text.partition(":"))
    variant = catalog.variant(name).id
    meant = {q.id for q in catalog.quantizations() if kind and catalog.is_named(kind, (q.id, *q.aliases))}
    if kind and not meant:
        catalog.quantization(kind)  # says which names there are
    rows = [v for v in verdicts if v.setup.variant == variant and (not kind or v.setup.quantization in meant)]
    if rows:  # rather than a place that cannot run it, of which no size is reckoned
        return min(rows, key=lambda v: "weights_bytes" not in v.estimates).setup
    only = Narrowed(variants=(variant,), quantizations=tuple(sorted(meant)), any_build=True)
    scales = Scales(Knowledge(machine), goal, all_of_it=False)
    rest = [v for one in candidates(machine, goal, (), only) for v in scales.verdicts(one)]
    if not rest:
        raise PhibenchError(f"{text}: no engine opens it on {machine.name}", NOTHING_FITS)
    return min(rest, key=lambda v: order_key(goal, v)).setup


def candidate_of(machine: Machine, setup: Setup) -> Candidate:
    """What a setup is one of."""
    backend, device = backends.load(setup.backend), machine.device(setup.device)
    assert device is not None
    quantization = next(
        q for fmt in backend.FORMATS for q in catalog.quantizations(fmt) if q.id == setup.quantization
    )  # fmt: skip
    kind = setup.device.partition(":")[0]
    build = builds.offered(setup.variant, quantization.format, quantization.id, kind)
    return Candidate(catalog.variant(setup.variant), quantization, backend, device, build)
