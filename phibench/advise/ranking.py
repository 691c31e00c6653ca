"""The order of candidates, and which of them are shown.

A tuple without weights, smaller first, an earlier one decides: what an expert would look at, in his order. Speed counts
up to what is felt, quality of a build up to what is noticed; so a fast machine gets a finer build of the best variant
that fits, a slow one a smaller one, and nobody a coarser one for speed that nobody feels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_type_hints

import msgspec

from phibench import backends, catalog
from phibench.advise.candidates import Candidate
from phibench.advise.limits import judge, miss, worse_end
from phibench.core.nouns import Estimate, Goal, Reason, Verdict
from phibench.predict import basis, costs, offload, predictions

GRID = 1.2  # two speeds in one step of 20 % feel alike (chosen)
_MISS_GRID = 1.1  # and so near a limit are two misses alike
_SAME_LOSS = 0.002  # nat: Q8_0 and F16 (0.0014, 0.0006) answer alike
_UNKNOWN = float("inf")
_A_SPLIT = ((offload.LAYERS, ""),)
_FASTEST = Estimate(value=_UNKNOWN, low=_UNKNOWN, high=_UNKNOWN, basis="exact", because="")
_MOST_TPS = 1e9  # nothing is as fast
_LEAST_SHOWN = 3  # variants that say why


class Key(NamedTuple):
    """What puts one before another: smaller is better, an earlier part decides. Beside each what it asks, in words."""

    not_yes: Annotated[tuple[Any, ...], "fits, or comes nearest to it"]
    thinks: Annotated[bool, "answers without thinking first, where that is wanted"]
    uneasy: Annotated[bool, "is comfortable"]
    tier: Annotated[int, "answers better: the variant's tier for this goal"]
    made: Annotated[tuple[bool, bool], "is published, in a type that no newer one has superseded"]
    noticed: Annotated[float, "loses less by its quantization, where that is noticed"]
    waits: Annotated[bool, "runs on an engine that may lead"]
    split: Annotated[bool, "fits whole on one device"]
    small_kv: Annotated[bool, "has the usual KV cache"]
    felt: Annotated[float, "decodes faster, in steps of 20 % up to what is felt"]
    processor: Annotated[bool, "runs on a GPU, where that is as fast"]  # alike to whoever reads, so no GPU is left idle
    loss: Annotated[float, "loses less by its quantization"]
    slow: Annotated[float, "decodes faster"]
    basis: Annotated[int, "has a speed that is known better"]
    size: Annotated[float, "is smaller"]
    name: Annotated[str, "comes first by name"]


PARTS = Key._fields.index("slow") + 1  # those by which a pick is worse; the rest only makes the order total


@functools.cache
def words() -> dict[str, str]:
    """What each part of a key asks, in their order."""
    hints = get_type_hints(Key, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in Key._fields}


def order_key(goal: Goal, verdict: Verdict) -> Key:
    """Smaller is better; the first :data:`PARTS` say what is worse."""
    setup, lost, speed = verdict.setup, loss(verdict), verdict.estimates.get("decode_tps")
    size = verdict.estimates.get("weights_bytes")
    options = dict(setup.options)
    return Key(
        not_yes=_not_yes(goal, verdict),
        thinks=is_thinking(goal, setup.variant),
        uneasy=not verdict.comfortable,
        tier=tier(goal, setup.variant),
        made=(not _is_published(goal, verdict), catalog.quantization(setup.quantization).superseded),
        noticed=_beyond(lost, goal.equal_loss),
        waits=_waits(verdict),
        split=offload.is_split(setup),
        small_kv=any(option in options for option in costs.KV_OPTIONS),
        felt=_felt(goal, speed),
        processor=setup.device == "cpu",
        loss=_beyond(lost, _SAME_LOSS),
        slow=-_sure_tps(speed),
        basis=basis.BASES.index(speed.basis) if speed else len(basis.BASES),
        size=size.value if size else _UNKNOWN,
        name=str(setup),
    )


def _not_yes(goal: Goal, verdict: Verdict) -> tuple[Any, ...]:
    """Of the others those lead that no amount speaks against, then those of which all is known, so that no guess with
    holes leads, then those that answer well enough, then those that fit, then those that come nearest: what has no room
    does not run, what is too slow can be waited for, and what answers badly is not worth either."""
    if verdict.verdict == "yes":
        return (False,)
    room, missed = (math.ceil(math.log(max(by, 1.0), _MISS_GRID)) for by in (verdict.overflows, verdict.missed))
    too_coarse = loss(verdict) > goal.limits.get("quant_kld", _UNKNOWN)
    return (True, verdict.hard, verdict.holes, too_coarse, room, missed)


def _waits(verdict: Verdict) -> bool:
    """Its engine leads only where no other runs a build as good, or it was measured to be faster."""
    speed = verdict.estimates.get("decode_tps")
    return not backends.load(verdict.setup.backend).LEADS and not (speed and speed.basis == "measured")


def is_thinking(goal: Goal, variant: str) -> bool:
    """Thinks before it answers, where nobody wants to wait for that."""
    return goal.thinking == "avoid" and catalog.variant(variant).reasoning


def _is_published(goal: Goal, verdict: Verdict) -> bool:
    """As it is: what is made of something else when it is opened nobody has; to train, that is how it is done."""
    return verdict.build is not None and (not verdict.build.made or goal.training is not None)


def tier(goal: Goal, variant: str) -> int:
    """Its place in the goal's file, 0 is the best."""
    return next((i for i, tier in enumerate(goal.tiers) if variant in tier), len(goal.tiers))


def hope(
    goal: Goal, one: Candidate, overflows: float = 1.0, speeds: Mapping[str, Estimate] | None = None,
    *, split: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """No key that can come of a candidate, or of its splits, is smaller. ``overflows``: its memory, ``speeds``: those
    that are known."""
    lost = predictions.loss(one.quantization)
    told = {**({"quant_kld": lost} if lost else {}), **(speeds or {})}
    setup = msgspec.structs.replace(one.setup, options=_A_SPLIT) if split else one.setup
    barred = one.variant.id in goal.not_for or one.device.kind.partition(":")[0] not in one.backend.KINDS
    misses = (miss(metric, e, goal.limits[metric]) for metric, e in told.items() if metric in goal.limits)
    missed = max(overflows, 1.0, *misses)
    could_be = not barred and missed <= 1.0
    comfortable = could_be and not split and lost is not None and lost.value <= goal.equal_loss
    here = Verdict(
        setup=setup, estimates={"decode_tps": _FASTEST, **told}, build=one.build,
        unknowns=() if could_be else (Reason(""),), hard=int(barred), overflows=overflows, missed=missed,
        comfortable=comfortable and all(judge(m, e, goal.comfort[m]) for m, e in told.items() if m in goal.comfort),
    )  # fmt: skip
    return order_key(goal, here)[:PARTS]


def loss(verdict: Verdict) -> float:
    """Of its quantization, in nat."""
    found = verdict.estimates.get("quant_kld")
    return found.value if found else _UNKNOWN


def _beyond(lost: float, equal: float) -> float:
    return 0.0 if lost <= equal else lost


def _felt(goal: Goal, speed: Estimate | None) -> float:
    """Steps of decode up to what is felt, negative."""
    if speed is None:
        return 0.0
    return -math.floor(math.log(min(_sure_tps(speed), goal.felt_tps or _MOST_TPS), GRID))


def tps(verdict: Verdict) -> float:
    """As the order has it; 0 where it is not known."""
    return _sure_tps(verdict.estimates.get("decode_tps"))


def _sure_tps(speed: Estimate | None) -> float:
    """The value, or of a doubted one its worse end: an order may not hang on what nobody believes."""
    if speed is None:
        return 0.0
    return max(worse_end("decode_tps", speed) if speed.doubt else speed.value, 1e-9)


def shown(verdicts: Sequence[Verdict], top: int | None = None, *, places: bool = False) -> tuple[Verdict, ...]:
    """The best setup of each of the first ``top`` variants, or with ``places`` the best of each backend and device of
    theirs; every candidate when ``top`` is None (``--top all``). Variants that nothing could make fit are shown where
    there is room for all, and three of them where there are no others, to say why."""
    if top is None:
        return tuple(verdicts)
    every = dict.fromkeys(v.setup.variant for v in verdicts)
    able = dict.fromkeys(v.setup.variant for v in verdicts if not v.hard)
    variants = set(every if top >= len(every) else list(able)[:top] or list(every)[: min(top, _LEAST_SHOWN)])
    best: dict[tuple[str, ...], Verdict] = {}
    for verdict in verdicts:
        if verdict.setup.variant in variants:
            place = (verdict.setup.backend, verdict.setup.device) if places else ()
            best.setdefault((verdict.setup.variant, *place), verdict)
    return tuple(best.values())
