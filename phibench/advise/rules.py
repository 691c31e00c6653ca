"""Why not? One function per objection, then a tuple of them.

A rule answers None (nothing to say), ``No`` (an objection) or ``Unknown`` (a limit that cannot be judged, and
what would settle it): a sentence with the numbers in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from phibench.advise.case import Answer, Case, Doubted, Missed, No, Perhaps, Rule, Unknown
from phibench.advise.limits import in_words, judge, miss
from phibench.analysis import trust
from phibench.core import units
from phibench.core.errors import unknown
from phibench.core.metrics import METRICS
from phibench.core.nouns import Setup
from phibench.predict import memory, offload

# ---------------------------------------------------------------------------------------------- words

AGAIN = "phibench probe"  # measures again what is doubted, when the machine is quiet


def command(setup: Setup) -> str:
    """What to type on that machine to know instead of guess."""
    device = "" if setup.device == "cpu" else f" -dev {setup.device}"
    split = "".join(f" --backend-option {key}={value}" for key, value in setup.options if key in offload.OPTIONS)
    return f"phibench run latency -m {setup.variant} -q {setup.quantization} -b {setup.backend}{device}{split}"


# ---------------------------------------------------------------------------------------------- rules


def runs_the_variant(case: Case) -> Answer:
    """The engine knows the architecture, by its own documents or a file that was seen to run."""
    runtime = case.backend.runs(case.variant)
    if runtime is None or runtime.runs is None:
        note = f": {runtime.note}" if runtime else ""
        return Unknown(f"not known whether {case.setup.backend} runs {case.variant.title}{note}")
    if not runtime.runs:
        return No(f"{case.setup.backend} does not run {case.variant.title}: {runtime.note}")
    return None


def passes_its_selftest(case: Case) -> Answer:
    """The engine, as installed here, gave right answers on this device."""
    why = trust.objection(case.setup, case.machine)
    return No(f"{why}; phibench doctor tests it again") if why else None


def knows_the_device(case: Case) -> Answer:
    """The engine has kernels for this kind of device, and its driver lets it be used."""
    kinds = case.backend.KINDS
    broken = next((problem for problem in case.device.problems if problem.kind == "unusable"), None)
    if broken:
        return No(f"{case.device.kind} cannot be used here: {broken.evidence}", broken.remedy)
    if case.device.kind.split(":")[0] in kinds:
        return None
    return No(f"{case.setup.backend} cannot use {case.device.kind}; it can use {', '.join(kinds)}")


def can_train(case: Case) -> Answer:
    """To train, the device is one that adapters are trained on. A processor takes days; Macs have tools of their own,
    whose memory nobody has published."""
    if not case.goal.training or case.device.kind.partition(":")[0] in case.backend.TRAINS:
        return None
    return No(f"adapters are trained on {' or '.join(case.backend.TRAINS)}, not on {case.device.kind}")


def has_a_file(case: Case) -> Answer:
    """There is, or can be made, a file of this variant in this quantization for the engine."""
    runtime = case.backend.runs(case.variant)
    if case.no_file is None or (runtime is not None and runtime.runs is False):
        return None
    return No(case.no_file)


def is_for_the_goal(case: Case) -> Answer:
    """The goal's file does not exclude the variant."""
    why = case.goal.not_for.get(case.variant.id)
    return No(f"{case.variant.title} is not for this goal: {why}") if why else None


def is_able(case: Case) -> Answer:
    """It can do what the goal requires. Abilities are the variant's; what this engine leaves out counts as absent."""
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
        "open_licence": (v.license in _OPEN if v.license else None, "use by anyone (see its licence)"),
    }
    if name not in abilities:
        raise unknown("ability", name, abilities, f"a goal may require: {', '.join(abilities)}")
    has, words = abilities[name]
    if has is None:
        return Unknown(f"not documented whether {v.title} is made for {words}")
    if not has:
        return No(f"{v.title} is not made for {words}")
    runtime = case.backend.runs(v)
    if name in ("image", "audio") and not (runtime and name in runtime.modalities):
        return No(f"{v.title} takes {words}, but with {case.setup.backend} only its text part runs")
    return None


_OPEN = ("MIT", "Apache-2.0", "BSD-3-Clause")  # for business too, on one's own machines, without asking anybody


def speaks_the_language(case: Case) -> Answer:
    """The language asked for is one that its makers name."""
    v, language = case.variant, case.goal.language
    if not language or language in v.languages:
        return None
    if not v.languages:
        return Unknown(f"not documented whether {v.title} speaks {language}")
    return No(f"{v.title} is not made for {language}")


def holds_the_context(case: Case) -> Answer:
    """The variant takes a context as long as asked for, and prompt, thinking and answer have room in it."""
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
        return No(f"prompt{seen}{beside} and answer take {used} tokens, more than the context: set --context")
    return None


def fits_in_memory(case: Case) -> Answer:
    """Every memory that it uses has room for it, with the context asked for: judged by the most that it may need.

    What it may take is what the system says is free; of a described machine, what the reserve leaves of its memory
    (docs/recommend.md).
    """
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
    what = "to train with examples of" if case.goal.training else "with a context of"
    text = f"{may} {needed} {what} {units.context(case.goal.context)}, {place.kind} can give {units.gib(free)}"
    if place.kind == "cpu" and place.high <= case.machine.limits.memory_bytes:
        text += f" of {units.gib(case.machine.limits.memory_bytes)}{_whose(case)}"
    elif place.kind == case.device.kind and "max_context_tokens" in case.estimates:
        most = case.estimates["max_context_tokens"].value
        text += f"; a context of {most:.0f} would fit" if most else ", too little for any context"
    by = place.high / max(free, 1)
    return Missed(text, by=by) if place.value > free else Perhaps(text, by=by)


def _whose(case: Case) -> str:
    """Who has the rest of the memory: of a machine that was only described, the reserve."""
    cpu = case.machine.device("cpu")
    return ", the rest is its system's" if cpu and cpu.basis == "spec" else " now: close other programs"


def fits_on_disk(case: Case) -> Answer:
    """The disk of the cache has room for its files; of a described machine that is not known."""
    storage, reckoned = case.machine.storage, case.estimates.get("disk_bytes")
    free = storage.free_bytes if storage else None
    size = (case.build and case.build.bytes) or (reckoned and reckoned.value)
    if free is None or not size or size <= free:
        return None
    return Missed(f"its files take {units.gb(size)}, the disk has {units.gb(free)} left", by=size / max(free, 1))


def is_fast_enough(case: Case) -> Answer:
    """Tokens per second reach what the goal asks for."""
    return _limits(case, ("decode_tps", "prefill_tps", "total_tps", "tpot_s"))


def starts_in_time(case: Case) -> Answer:
    """The first token comes as soon as the goal asks for."""
    return _limits(case, ("ttft_s",))


def answers_in_time(case: Case) -> Answer:
    """The whole answer comes as soon as the goal asks for, thinking included."""
    return _limits(case, ("answer_s",))


def is_good_enough(case: Case) -> Answer:
    """The quantization loses no more than the goal allows."""
    return _limits(case, ("quality", "quant_kld"))


def keeps_other_limits(case: Case) -> Answer:
    """Any other limit of the goal's file, of energy, memory or disk."""
    named = {"decode_tps", "prefill_tps", "total_tps", "tpot_s", "ttft_s", "answer_s", "quality", "quant_kld"}
    return _limits(case, tuple(sorted(case.goal.limits.keys() - named)))


def has_a_known_speed(case: Case) -> Answer:
    """No yes where the speed is not known, except for training, which has no predicted time."""
    if case.need is None or case.goal.training or "decode_tps" in {*case.estimates, *case.goal.limits}:
        return None
    return Unknown(f"{_titles(['decode_tps'])} not known", command(case.setup))


OF_THE_KIND: tuple[Rule, ...] = (  # hang on no figure: where one of them says no, nothing is predicted
    runs_the_variant,
    passes_its_selftest,
    knows_the_device,
    can_train,
    has_a_file,
    is_for_the_goal,
    is_able,
    speaks_the_language,
)
OF_THE_USE: tuple[Rule, ...] = (
    holds_the_context,
    fits_in_memory,
    fits_on_disk,
    is_fast_enough,
    starts_in_time,
    answers_in_time,
    is_good_enough,
    keeps_other_limits,
    has_a_known_speed,
)
RULES = (*OF_THE_KIND, *OF_THE_USE)


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
    text, by = in_words(metric, estimate, limit), miss(metric, estimate, limit)
    if estimate.doubt:
        settled = command(case.setup) if estimate.basis in ("measured", "calibrated") else AGAIN
        return Doubted(text, settled, by=by)
    return Missed(text, by=by) if kept is False else Perhaps(text, command(case.setup), by=by)


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
    """The first objection, else the first unknown; with the largest factor of all."""
    most = max((answer.by for answer in answers if isinstance(answer, Missed | Perhaps)), default=1.0)
    for kind in (No, Unknown):
        for answer in answers:
            if isinstance(answer, kind):
                return msgspec.structs.replace(answer, by=most) if isinstance(answer, Missed | Perhaps) else answer
    return None
