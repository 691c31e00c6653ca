"""What stands below the advice: why each row is where it is, where to get it, what is already in the system."""

from __future__ import annotations

from collections.abc import Sequence

from phibench import backends, catalog
from phibench.advise import explain, platforms, ranking
from phibench.advise.explain import ROWS_ALONE, Reasons
from phibench.advise.moves import Change
from phibench.core import amounts, units
from phibench.core.nouns import Goal, Machine, Setup, Verdict
from phibench.core.nouns.advice import loss_class
from phibench.predict import offload

_FASTER = 1.3  # times: less is not worth a word
_READING_TPS = 6.0  # the limit of chat: silent reading (catalog/goals/chat.toml)


# How a speed is known, in words; the best first.
_FROM = {
    "measured": "measured here", "calibrated": "estimated from what was measured here",
    "probed": "estimated from this machine's bandwidth and matrix rate", "spec": "estimated from data sheets",
}  # fmt: skip


def of_each(
    goal: Goal, verdicts: Sequence[Verdict], chosen: Sequence[Verdict], rows: Sequence[dict[str, str]],
    reasons: Reasons = ROWS_ALONE, *, tell_place: bool,
) -> list[str]:  # fmt: skip
    """What stands under each row: where it runs, and why it is there. ``rows``: the texts of those ``chosen``."""
    found = []
    for row, verdict in zip(rows, chosen, strict=True):
        if verdict is verdicts[0] and verdict.verdict == "yes":
            why = explain.why(goal, verdict, None, verdicts, reasons)
        else:
            why = row["why"] or trade(goal, chosen[0], verdict)
        place = _place(verdict) if tell_place else ""
        found.append(": ".join(filter(None, (place, why))) or where(verdict))
    return found


def _place(verdict: Verdict) -> str:
    """Of a model that is split also what the host holds: the table has what the device does."""
    host = verdict.estimates.get("host_needed_bytes")
    split = f", {amounts.shown('host_needed_bytes', host)} on the host" if host and offload.of(verdict.setup) else ""
    return f"{verdict.setup.place}{split}"


def known_from(chosen: Sequence[Verdict]) -> list[str]:
    """How the speeds that are shown are known."""
    ranks: dict[str, list[str]] = {basis: [] for basis in _FROM}
    for rank, verdict in enumerate(chosen, start=1):
        speed = verdict.estimates.get("decode_tps")
        if speed and speed.basis in ranks:
            ranks[speed.basis].append(str(rank))
    told = {basis: of for basis, of in ranks.items() if of}
    if not told:
        return []
    each = [_FROM[basis] if len(told) == 1 else f"{', '.join(of)} {_FROM[basis]}" for basis, of in told.items()]
    range_ = "" if told.keys() == {"measured"} else "; the range in brackets holds 8 times in 10"
    return [f"Speeds: {'; '.join(each)}{range_}"]


def below(
    machine: Machine, goal: Goal, verdicts: Sequence[Verdict], chosen: Sequence[Verdict], reasons: Reasons = ROWS_ALONE,
    to_run: str = "",
) -> list[str]:  # fmt: skip
    """Sentences, in the order in which they are to be read, below those ``chosen`` to be shown; ``to_run``: what is
    said where the first can be run."""
    notes = [*([nearest(*reasons.nearest)] if reasons.nearest else []), *_nothing_is_sure(goal, verdicts)]
    for rank, verdict in enumerate(chosen, start=1):
        notes += [f"{rank} {line}" for line in _measured(verdict, verdicts)]
    for rank, verdict in enumerate(chosen, start=1):
        if verdict is chosen[0] or verdict.build is None:
            notes.append(f"{rank} is {where(verdict)}{to_run if rank == 1 else ''}")
    return [*notes, *platforms.lines(machine, goal), *_remarks(goal)]


def nearest(setup: Setup, change: Change) -> str:
    """Where nothing fits: what would, and how."""
    return f"Nothing fits. The nearest is {setup}. What would make it fit: {changed(setup, change)}"


def changed(setup: Setup, change: Change) -> str:
    """What to change, the flags for it, and the setup that it is then."""
    flags = f" ({' '.join(change.flags)})" if change.flags else ""
    return f"{change.text}{flags}{'' if change.setup == setup else f': {change.setup}'}"


def _measured(shown: Verdict, verdicts: Sequence[Verdict]) -> list[str]:
    """What was measured here of a variant of which another build, or another place, is shown."""
    of_it = (v for v in verdicts if v.setup.variant == shown.setup.variant and v.setup != shown.setup)
    seen = [(v, e) for v in of_it if (e := v.estimates.get("decode_tps")) and e.basis == "measured"]
    if not seen:
        return []
    best, speed = seen[0]  # in the order of the advice
    return [f"was measured here as {best.setup}: {amounts.shown('decode_tps', speed)} tok/s ({best.level})"]


def trade(goal: Goal, first: Verdict, other: Verdict) -> str:
    """What somebody gets and gives who takes ``other`` instead of ``first``: "better answers, at half the speed"."""
    words = [_variants(goal, first, other), "" if goal.training else _builds(first, other), _speeds(first, other)]
    words.append("memory left for others" if other.comfortable and not first.comfortable else "")
    return ", ".join(word for word in words if word)


def _variants(goal: Goal, first: Verdict, other: Verdict) -> str:
    mine, its = (ranking.tier(goal, v.setup.variant) for v in (first, other))
    if ranking.is_thinking(goal, other.setup.variant):
        return "thinks before it answers"
    if mine == its:
        return ""
    return "better answers" if its < mine else "weaker answers"


def _builds(first: Verdict, other: Verdict) -> str:
    losses = [v.estimates.get("quant_kld") for v in (first, other)]
    if losses[0] is None or losses[1] is None:
        return ""
    mine, its = (loss_class(loss.value) for loss in losses if loss)
    if mine == its:
        return ""
    return "a finer build" if losses[1].value < losses[0].value else "a coarser build"


def _speeds(first: Verdict, other: Verdict) -> str:
    mine, its = (v.estimates.get("decode_tps") for v in (first, other))
    if mine is None or its is None:
        return ""
    times = its.value / mine.value
    if 1 / _FASTER < times < _FASTER:
        return ""
    return f"{times:.0f} times as fast" if times >= 10 else f"{times:.1f} times as fast"


def where(verdict: Verdict) -> str:
    """Who offers it as what, with its size; or how it is made where nobody does."""
    build = verdict.build
    if build is None:
        return f"offered by nobody{_to_make(verdict)}"
    size = f", {units.gb(build.bytes)}" if build.bytes else _reckoned(verdict)
    path = f": {build.path}" if build.path else ""
    note = f" ({build.note})" if build.note else ""
    branch = f" (its branch {build.branch})" if build.branch else ""
    return f"offered as {build.repository}{branch}{path}{size}{note}"


def _reckoned(verdict: Verdict) -> str:
    size = verdict.estimates.get("disk_bytes")
    return f", about {units.gb(size.value)}" if size else ""


def _to_make(verdict: Verdict) -> str:
    """By its format, of the checkpoint that its makers offer."""
    source, setup = catalog.variant(verdict.setup.variant).hf_repo, verdict.setup
    if source is None:
        return ""
    if "gguf" in backends.load(setup.backend).FORMATS:
        return f"; convert_hf_to_gguf.py and llama-quantize make it from {source}, as {setup.quantization}"
    if "onnx" in backends.load(setup.backend).FORMATS:
        return f"; python -m onnxruntime_genai.models.builder makes it from {source}"
    return f"; it is made from {source} as it is opened"


def _nothing_is_sure(goal: Goal, verdicts: Sequence[Verdict]) -> list[str]:
    """Where every candidate is a no: the fastest that is known, beside what is asked for."""
    if any(verdict.verdict != "no" for verdict in verdicts):
        return []
    asked = goal.limits.get("decode_tps")
    fits = (v for v in verdicts if not v.hard and v.overflows <= 1.0)
    able = [(v, e) for v in fits if (e := v.estimates.get("decode_tps"))]
    speeds = [(e.basis == "measured", e.value, v) for v, e in able]
    if asked is None or not speeds:
        return []
    known, value, fastest = max(speeds, key=lambda one: one[:2])  # what was measured before what was not
    if value >= asked:
        return []
    pace = "nothing here keeps up with reading" if asked <= _READING_TPS else "nothing here is as fast as asked for"
    told = amounts.amount("decode_tps", value, 2)
    seen = "the fastest that was measured" if known else "the fastest that is predicted"
    return [f"{pace}: {asked:g} tok/s are asked for, {seen} is {fastest.setup} with {told}"]


def _remarks(goal: Goal) -> list[str]:
    if not goal.images and not goal.audio_s:
        return []
    what = "pictures add" if goal.images else "speech adds"
    return [f"phibench measures the text part; what {what} is predicted, or published"]
