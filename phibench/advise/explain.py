"""Why this, and why behind that: sentences and values read off the keys of the order, so that none says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from phibench import catalog
from phibench.advise import ranking
from phibench.advise.moves import Change
from phibench.core import units
from phibench.core.nouns import Goal, Setup, Verdict


class Reasons(NamedTuple):
    """What explains the rows of an advice. ``beside``: more of the first variant, where the rows have only its best;
    ``nearest``: where nothing fits what would, and how; ``whole_family``: no variant was left out."""

    beside: Sequence[Verdict] = ()
    changes: Mapping[Setup, Change] = {}
    nearest: tuple[Setup, Change] | None = None
    whole_family: bool = True


ROWS_ALONE = Reasons()


class Part(NamedTuple):
    """Of two keys: what a part asks, and what either says."""

    name: str
    words: str
    above: str
    mine: str


# ------------------------------------------------------------------------------------------------------------ sentences


def why(goal: Goal, verdict: Verdict, above: Verdict | None, verdicts: Sequence[Verdict], reasons: Reasons) -> str:
    """In one sentence, why it stands where it does: as the first of ``verdicts``, or behind ``above``."""
    if verdict.verdict != "yes":
        told = [*verdict.objections, *(reason.text for reason in verdict.unknowns)]
        more = f", and {len(told) - 1} more" if len(told) > 1 else ""
        return f"{verdict.level}: {told[0]}{more}"
    if above is None:
        return _first(goal, verdict, verdicts, reasons)
    return f"behind {_apart(above, verdict)}: {behind(goal, above, verdict)}"


def _apart(above: Verdict, verdict: Verdict) -> str:
    return above.setup.model if above.setup.place == verdict.setup.place else str(above.setup)


def _first(goal: Goal, pick: Verdict, verdicts: Sequence[Verdict], reasons: Reasons) -> str:
    """Beside the rest of the family, and beside another build of its own."""
    title = f"{catalog.variant(pick.setup.variant).title} at {pick.setup.quantization}"
    build = _builds(goal, pick, reasons.beside or verdicts)
    return f"{title}: {_among(goal, pick, verdicts, reasons.whole_family)}{f'; {build}' if build else ''}"


def _among(goal: Goal, pick: Verdict, verdicts: Sequence[Verdict], whole: bool) -> str:
    """The first of each other variant is its best, so what is so of none of these is so of no build."""
    best: dict[str, Verdict] = {}
    for verdict in verdicts:
        best.setdefault(verdict.setup.variant, verdict)
    others = [v for name, v in best.items() if name != pick.setup.variant and v.verdict == "yes"]
    family = "of the family" if whole else "of those asked for"
    if not others:
        return f"the only one {family} that is sure to serve here"
    alike = [v for v in others if v.comfortable >= pick.comfortable]
    if ranking.is_thinking(goal, pick.setup.variant):
        rivals = [v for v in alike if ranking.is_thinking(goal, v.setup.variant)]
    else:
        rivals = [v for v in alike if not ranking.is_thinking(goal, v.setup.variant)]
    serves = "is comfortable here" if pick.comfortable else "serves here"
    serves += " without thinking first" if len(rivals) < len(alike) else ""
    if not rivals:
        return f"the only one {family} that {serves}"
    mine, next_best = (min(ranking.tier(goal, v.setup.variant) for v in some) for some in ([pick], rivals))
    if mine < next_best:
        return f"the best {family} for {goal.id} that {serves}"
    return f"none {family} that {serves} is better for {goal.id}"


def _builds(goal: Goal, pick: Verdict, verdicts: Sequence[Verdict]) -> str:
    """The next finer build at the same place, else the next in the order; each stands behind the pick."""
    mine, place = pick.setup, (pick.setup.variant, pick.setup.backend, pick.setup.device, pick.setup.options)
    others = [
        v for v in verdicts
        if (v.setup.variant, v.setup.backend, v.setup.device, v.setup.options) == place
        and v.setup.quantization != mine.quantization
    ]  # fmt: skip
    lost = ranking.order_key(goal, pick).loss
    old = ranking.order_key(goal, pick).made
    finer = [v for v in others if (key := ranking.order_key(goal, v)).loss < lost and key.made <= old]
    other = max(finer, key=lambda v: ranking.order_key(goal, v).loss) if finer else next(iter(others), None)
    if other is None or ranking.order_key(goal, other) < ranking.order_key(goal, pick):
        return ""
    name, tps = other.setup.quantization, _speeds(pick, other)
    part = decides(goal, pick, other)
    if part == "not_yes":
        return f"{name} {_falls_short(goal, other)}"
    if part == "uneasy":
        return f"{name} would be usable, but not comfortable"
    if part in ("loss", "noticed") and tps and tps[1] > tps[0]:
        if goal.felt_tps and tps[0] >= goal.felt_tps:
            return f"{name} would be faster, which nobody feels beyond {goal.felt_tps:g} tok/s"
        return f"{name} would be faster, but {behind(goal, pick, other)}"
    return f"{name} ranks behind it: {behind(goal, pick, other)}"


def _falls_short(goal: Goal, other: Verdict) -> str:
    may = "" if other.verdict == "no" else "may "
    if ranking.loss(other) > goal.limits.get("quant_kld", float("inf")):
        return f"loses more than {goal.id} allows"
    if other.hard or other.holes:
        return "is not sure to run"
    if other.overflows > 1.0:
        return f"{may or 'does '}not fit"
    return f"{may or 'does '}not keep the limits"


def decides(goal: Goal, above: Verdict, verdict: Verdict) -> str:
    """The first part of their keys that differs."""
    one, other = ranking.order_key(goal, above), ranking.order_key(goal, verdict)
    return next((name for name, a, b in zip(one._fields, one, other, strict=True) if a != b), "name")


def behind(goal: Goal, above: Verdict, verdict: Verdict) -> str:
    """Why ``verdict`` comes after ``above``, in words with its numbers."""
    return _BEHIND[decides(goal, above, verdict)](goal, above, verdict)


def _misses(goal: Goal, above: Verdict, verdict: Verdict) -> str:
    if above.verdict == "yes":
        return "not sure to keep every limit"
    one, other = (ranking.order_key(goal, v).not_yes for v in (above, verdict))
    return _NOT_YES[next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)]


_NOT_YES = (
    "", "it has more objections that no memory or time cures", "more about it is not known",
    "loses more than the goal allows", "it lacks more memory", "it misses its limits by more",
)  # fmt: skip


def _built(goal: Goal, above: Verdict, verdict: Verdict) -> str:
    one, other = (ranking.order_key(goal, v).made for v in (above, verdict))
    return "nobody publishes it as it is" if other[0] > one[0] else "an older type that a newer one has superseded"


def _than(what: str, mine: str, above: str) -> str:
    """With both figures, where they differ as they are shown."""
    return f"a little {what}" if mine == above else f"{what}, {mine} instead of {above}"


def _loses(_goal: Goal, above: Verdict, verdict: Verdict) -> str:
    return _than("more loss from its quantization", _nat(verdict), _nat(above))


def _slower(_goal: Goal, above: Verdict, verdict: Verdict) -> str:
    return _than("slower", _tps(verdict), _tps(above))


_BEHIND: dict[str, Callable[[Goal, Verdict, Verdict], str]] = {
    "not_yes": _misses,
    "thinks": lambda _goal, _above, _verdict: "it thinks before it answers",
    "uneasy": lambda _goal, _above, verdict: f"usable, not comfortable: {verdict.discomfort}",
    "tier": lambda goal, _above, _verdict: f"weaker answers for {goal.id}",
    "made": _built,
    "noticed": _loses,
    "waits": lambda _goal, _above, verdict: f"{verdict.setup.backend} comes after engines that run a build as good",
    "split": lambda _goal, _above, _verdict: "split between two memories",
    "small_kv": lambda _goal, _above, _verdict: "has a smaller KV cache",
    "felt": _slower,
    "processor": lambda _goal, _above, _verdict: "about as fast, but on the processor",
    "loss": _loses,
    "slow": _slower,
    "basis": lambda _goal, _above, verdict: f"less is known about it, its speed is {_basis(verdict)}",
    "size": lambda _goal, above, verdict: _than("larger", _size(verdict), _size(above)),
    "name": lambda _goal, _above, _verdict: "equal in all that counts, so ordered by name",
}


# --------------------------------------------------------------------------------------------------------------- values


def _tier(goal: Goal, verdict: Verdict) -> str:
    place = ranking.tier(goal, verdict.setup.variant)
    return f"{place + 1} of {len(goal.tiers)}" if place < len(goal.tiers) else "in none"


def _short(verdict: Verdict) -> str:
    if verdict.hard:
        return "no memory or time cures that"
    if verdict.missed <= 1.0:
        return "not everything is known"
    share = (verdict.missed - 1) * 100
    return f"short by {share:.0f} %" if share >= 1 else "short by less than 1 %"


def _made(goal: Goal, verdict: Verdict) -> str:
    alone, old = ranking.order_key(goal, verdict).made
    return "published by nobody" if alone else "an older type" if old else "yes"


def _felt(goal: Goal, verdict: Verdict) -> str:
    enough = goal.felt_tps is not None and ranking.tps(verdict) >= goal.felt_tps
    return f"{goal.felt_tps:g} tok/s or more" if enough else _tps(verdict)


def _nat(verdict: Verdict) -> str:
    loss = verdict.estimates.get("quant_kld")
    return f"{loss.value:.3g} nat" if loss else "not known"


def _tps(verdict: Verdict) -> str:
    return f"{ranking.tps(verdict):.3g} tok/s" if "decode_tps" in verdict.estimates else "not known"


def _speeds(one: Verdict, other: Verdict) -> tuple[float, float] | None:
    known = all("decode_tps" in v.estimates for v in (one, other))
    return (ranking.tps(one), ranking.tps(other)) if known else None


def _basis(verdict: Verdict) -> str:
    speed = verdict.estimates.get("decode_tps")
    return {"spec": "from a data sheet"}.get(speed.basis, speed.basis) if speed else "not known"


def _size(verdict: Verdict) -> str:
    size = verdict.estimates.get("weights_bytes")
    return units.gb(size.value) if size else "not known"


def order(goal: Goal, above: Verdict, verdict: Verdict) -> list[Part]:
    """Key by key down to the one that decides."""
    last = decides(goal, above, verdict)
    names = ranking.Key._fields[: ranking.Key._fields.index(last) + 1]
    told = ranking.words()
    return [Part(name, told[name], _VALUES[name](goal, above), _VALUES[name](goal, verdict)) for name in names]


_VALUES: dict[str, Callable[[Goal, Verdict], str]] = {
    "not_yes": lambda _goal, v: v.verdict if v.verdict == "yes" else f"{v.level}, {_short(v)}",
    "thinks": lambda goal, v: "no" if ranking.is_thinking(goal, v.setup.variant) else "yes",
    "uneasy": lambda _goal, v: "yes" if v.comfortable else "no",
    "tier": _tier,
    "made": _made,
    "noticed": lambda goal, v: _nat(v) if ranking.order_key(goal, v).noticed else f"{_nat(v)}, not noticed",
    "waits": lambda goal, v: "no" if ranking.order_key(goal, v).waits else "yes",
    "split": lambda goal, v: "no" if ranking.order_key(goal, v).split else "yes",
    "small_kv": lambda goal, v: "no" if ranking.order_key(goal, v).small_kv else "yes",
    "felt": _felt,
    "processor": lambda _goal, v: "no" if v.setup.device == "cpu" else "yes",
    "loss": lambda _goal, v: _nat(v),
    "slow": lambda _goal, v: _tps(v),
    "basis": lambda _goal, v: _basis(v),
    "size": lambda _goal, v: _size(v),
    "name": lambda _goal, v: str(v.setup),
}
