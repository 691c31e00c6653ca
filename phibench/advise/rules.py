"""Why not? One function per objection, then a tuple of them.

A rule answers None (nothing to say), ``No`` (an objection) or ``Unknown`` (a limit that cannot be judged, and
what would settle it): a sentence with the numbers in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phibench.advise.limits import judge
from phibench.analysis import trust
from phibench.backends.contract import Backend
from phibench.core import units
from phibench.core.amounts import amount, shown
from phibench.core.errors import unknown
from phibench.core.metrics import METRICS
from phibench.core.nouns import Device, Estimate, Goal, Machine, Need, Noun, Quantization, Reason, Setup, Variant
from phibench.predict import memory, offload


class No(Reason, frozen=True):
    """An objection."""


class Missed(No, frozen=True):
    """A no that another limit, or a faster machine, would turn: it runs, only not as asked."""


class Unknown(Reason, frozen=True):
    """A limit that cannot be judged."""


class Doubted(Unknown, frozen=True):
    """A limit that cannot be judged because what is known of the machine's speed is not believed."""


Answer = No | Unknown | None
Rule = Callable[["Case"], Answer]
_OPEN = ("MIT", "Apache-2.0")


class Case(Noun, frozen=True, kw_only=True):
    """One candidate with all that a rule may look at; what the user asked for on top is already in the goal.

    ``no_file`` says why there is no plan, ``need`` is None then.
    """

    machine: Machine
    device: Device
    goal: Goal
    variant: Variant
    quantization: Quantization
    backend: Backend
    setup: Setup
    estimates: dict[str, Estimate]
    need: Need | None = None
    no_file: str | None = None


# ---------------------------------------------------------------------------------------------- words

AGAIN = "phibench probe"  # measures again what is doubted, when the machine is quiet


def command(setup: Setup) -> str:
    """What to type on that machine to know instead of guess."""
    device = "" if setup.device == "cpu" else f" -dev {setup.device}"
    split = "".join(f" --backend-option {key}={value}" for key, value in setup.options if key in offload.OPTIONS)
    return f"phibench run latency -m {setup.variant} -q {setup.quantization} -b {setup.backend}{device}{split}"


# ---------------------------------------------------------------------------------------------- rules


def runs_the_variant(case: Case) -> Answer:
    runtime = case.backend.runs(case.variant)
    if runtime is None or runtime.runs is None:
        note = f": {runtime.note}" if runtime else ""
        return Unknown(f"not known whether {case.setup.backend} runs {case.variant.title}{note}")
    if not runtime.runs:
        return No(f"{case.setup.backend} does not run {case.variant.title}: {runtime.note}")
    return None


def passes_its_selftest(case: Case) -> Answer:
    why = trust.objection(case.setup, case.machine)
    return No(f"{why}; phibench doctor tests it again") if why else None


def knows_the_device(case: Case) -> Answer:
    kinds = case.backend.KINDS
    if case.device.kind.split(":")[0] in kinds:
        return None
    return No(f"{case.setup.backend} cannot use {case.device.kind}; it can use {', '.join(kinds)}")


def has_a_file(case: Case) -> Answer:
    runtime = case.backend.runs(case.variant)
    if case.no_file is None or (runtime is not None and runtime.runs is False):
        return None
    return No(case.no_file)


def is_able(case: Case) -> Answer:
    """Abilities are the variant's; what this backend leaves out of them counts as absent."""
    answers = [_ability(case, name) for name in case.goal.requires]
    return _first(answers)


def _ability(case: Case, name: str) -> Answer:
    v = case.variant
    abilities: dict[str, tuple[bool | None, str]] = {
        "reasoning": (v.reasoning, "thinking before it answers"),
        "function_calling": (v.function_calling, "function calling"),
        "multilingual": (len(v.languages) > 1 if v.languages else None, "several languages"),
        "image": ("image" in v.modalities_in, "images"),
        "audio": ("audio" in v.modalities_in, "audio"),
        "open_licence": (v.license in _OPEN if v.license else None, "use under an open licence"),
    }
    if name not in abilities:
        raise unknown("ability", name, abilities, f"a goal may require: {', '.join(abilities)}")
    has, words = abilities[name]
    if has is None:
        return Unknown(f"not documented whether {v.title} is made for {words}")
    if not has:
        return No(f"{v.title} is not made for {words}")
    if name in ("image", "audio") and name not in case.backend.MODALITIES:
        return No(f"{v.title} takes {words}, but with {case.setup.backend} only its text part runs")
    return None


def holds_the_context(case: Case) -> Answer:
    most = case.variant.context_tokens
    if most is None:
        return Unknown(f"the longest context of {case.variant.title} is not known")
    if case.goal.context > most:
        return No(f"a context of {case.goal.context} tokens is asked for, {case.variant.title} takes {most} at most")
    thinking = (case.goal.thinking_tokens or 0) if case.variant.reasoning else 0
    used = case.goal.prompt_tokens + thinking + case.goal.new_tokens
    if used > case.goal.context:
        beside = f", {thinking} thinking tokens" if thinking else ""
        seen = " with its pictures and speech" if case.goal.images or case.goal.audio_s else ""
        return No(f"prompt{seen}{beside} and answer take {used} tokens: set --context")
    return None


def fits_in_memory(case: Case) -> Answer:
    """Every memory that it takes from must have it: judged by the most that it may need."""
    if case.need is None:
        return None
    return _first([_fits(case, place) for place in memory.places(case.setup, case.need, case.device)])


def _fits(case: Case, place: memory.Place) -> Answer:
    free = memory.free_in(case.machine, place, case.device)
    if free is None:
        return Unknown(f"the memory of {place.kind} is not known; it needs {units.gib(place.value)}")
    if place.high <= free:
        return None
    needed = units.gib(place.value if place.value > free else place.high)
    may = "needs" if place.value > free else "may need"
    text = (
        f"{may} {needed} with a context of {units.context(case.goal.context)}, {place.kind} can give {units.gib(free)}"
    )
    if place.kind == "cpu" and place.high <= case.machine.limits.memory_bytes:
        text += f" of {units.gib(case.machine.limits.memory_bytes)} now: close other programs"
    elif place.kind == case.device.kind and "max_context_tokens" in case.estimates:
        most = case.estimates["max_context_tokens"].value
        text += f"; a context of {most:.0f} would fit" if most else ", too little for any context"
    return No(text)


def is_fast_enough(case: Case) -> Answer:
    return _limits(case, ("decode_tps", "prefill_tps", "total_tps", "tpot_s"))


def answers_in_time(case: Case) -> Answer:
    return _limits(case, ("ttft_s", "answer_s"))


def is_good_enough(case: Case) -> Answer:
    return _limits(case, ("quality", "quant_kld"))


def keeps_other_limits(case: Case) -> Answer:
    named = {"decode_tps", "prefill_tps", "total_tps", "tpot_s", "ttft_s", "answer_s", "quality", "quant_kld"}
    return _limits(case, tuple(sorted(case.goal.limits.keys() - named)))


def has_a_known_speed(case: Case) -> Answer:
    """A goal that orders by a speed cannot say yes to one that nobody knows."""
    if case.need is None:
        return None
    missing = [m for m in ("decode_tps", "ttft_s") if m in case.goal.order and m not in case.estimates]
    missing = [m for m in missing if m not in case.goal.limits]
    return Unknown(f"{_titles(missing)} not known", command(case.setup)) if missing else None


RULES: tuple[Rule, ...] = (
    runs_the_variant,
    passes_its_selftest,
    knows_the_device,
    has_a_file,
    is_able,
    holds_the_context,
    fits_in_memory,
    is_fast_enough,
    answers_in_time,
    is_good_enough,
    keeps_other_limits,
    has_a_known_speed,
)


def _limits(case: Case, metrics: tuple[str, ...]) -> Answer:
    return _first([_limit(case, m, case.goal.limits[m]) for m in metrics if m in case.goal.limits])


def _limit(case: Case, metric: str, limit: float) -> Answer:
    if case.need is None:
        return None  # another rule has said that there is no such file
    estimate = case.estimates.get(metric)
    if estimate is None:
        return _unknown(case, metric, f"{_titles([metric])} not known")
    kept = judge(metric, estimate, limit)
    if kept:
        return None
    row = METRICS[metric]
    unit = f" {row.unit}" if row.unit not in ("s", "B") else ""
    bound = "least" if row.better == "higher" else "most"
    doubtful = " (doubtful)" if estimate.doubt else ""
    asked = f"asked for at {bound} {amount(metric, limit, 3)}{unit}"
    text = f"{row.title} {shown(metric, estimate)}{unit}{doubtful}, {asked}"
    if doubtful:
        return Doubted(text, command(case.setup) if estimate.basis in ("measured", "calibrated") else AGAIN)
    return Missed(text) if kept is False else _unknown(case, metric, text)


def _unknown(case: Case, metric: str, text: str) -> Unknown:
    """What a measurement here cannot settle says so in its text."""
    if metric == "answer_s" and case.variant.reasoning and case.goal.thinking_tokens is None:
        return Unknown(f"{text}: how long {case.variant.title} thinks is not published, set --thinking-tokens")
    if metric in ("quality", "quant_kld"):
        return Unknown(f"{text}: no published figure exists")
    return Unknown(text, command(case.setup))


def _titles(metrics: Sequence[str]) -> str:
    verb = "is" if len(metrics) == 1 else "are"
    return f"{' and '.join(METRICS[m].title if m in METRICS else m for m in metrics)} {verb}"


def _first(answers: list[Answer]) -> Answer:
    """The first objection, else the first unknown."""
    for kind in (No, Unknown):
        for answer in answers:
            if isinstance(answer, kind):
                return answer
    return None
