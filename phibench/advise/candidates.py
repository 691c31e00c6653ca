"""What could be tried on a machine, and the goal as it was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from phibench import backends, catalog
from phibench.backends.contract import Backend
from phibench.catalog import builds, languages
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Build, Device, Goal, Machine, Noun, Quantization, Run, Setup, Training, Variant
from phibench.predict import costs, finetuning

_MOST_TRAINED = 65_536  # rank, examples at once
_MOST = 1_000_000  # tokens, tokens per second or seconds that may be asked for
LONG = 16_384  # tokens of context from which on a smaller KV cache is worth its loss (chosen)
SMALL_KV = tuple((option, "q8_0") for option in costs.KV_OPTIONS)


class Narrowed(Noun, frozen=True, kw_only=True):
    """What a person will have and no other; empty: any. ``any_build``: also what nobody publishes."""

    variants: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    any_build: bool = False


class Candidate(NamedTuple):
    """``build``: where to get it; None: nobody publishes it."""

    variant: Variant
    quantization: Quantization
    backend: Backend
    device: Device
    build: Build | None

    @property
    def setup(self) -> Setup:
        return Setup(
            variant=self.variant.id, quantization=self.quantization.id, backend=self.backend.NAME,
            device=self.device.kind,
        )  # fmt: skip


def as_asked(
    goal: Goal, context: int | None = None, min_tps: float | None = None, max_ttft: float | None = None,
    thinking_tokens: int | None = None, language: str | None = None, rank: int | None = None, batch: int | None = None,
    max_answer: float | None = None,
) -> Goal:  # fmt: skip
    """The goal with what the user asked for on top; to train, a context is the length of the examples."""
    if context is not None:
        catalog.check_context(context, catalog.variants())
    figures = (
        ("--min-tps", min_tps, 0.001),
        ("--max-ttft", max_ttft, 0.001),
        ("--max-answer", max_answer, 0.001),
        ("--thinking-tokens", thinking_tokens, 0),
    )
    for flag, figure, least in figures:
        if figure is not None and not least <= figure <= _MOST:  # nan is neither
            raise PhibenchError(f"{flag} {figure} makes no sense; write {least} to {_MOST}, or leave it out")
    limits = dict(goal.limits)
    limits |= {"decode_tps": min_tps} if min_tps is not None else {}
    limits |= {"ttft_s": max_ttft} if max_ttft is not None else {}
    limits |= {"answer_s": max_answer} if max_answer is not None else {}
    asked = msgspec.structs.replace(
        goal,
        limits=limits,
        context=goal.context if context is None else context,
        thinking_tokens=goal.thinking_tokens if thinking_tokens is None else thinking_tokens,
        language=languages.named(language) if language is not None else "",
    )
    if asked.training or rank is not None or batch is not None:
        return _to_train(asked, rank, batch)
    least = asked.prompt_tokens + asked.new_tokens
    if asked.context < least:
        raise PhibenchError(
            f"a context of {asked.context} tokens is too short for goal {goal.id}: "
            f"its prompt and answer take {least}; use --context {units.context(-(-least // 1024) * 1024)}"
        )
    return asked


def _to_train(goal: Goal, rank: int | None, batch: int | None) -> Goal:
    if goal.training is None:
        raise PhibenchError(f"--rank and --batch are for training; goal {goal.id} trains nothing: --goal fine-tuning")
    for flag, figure in (("--rank", rank), ("--batch", batch)):
        if figure is not None and not 1 <= figure <= _MOST_TRAINED:
            raise PhibenchError(f"{flag} {figure} makes no sense; write 1 to {_MOST_TRAINED}, or leave it out")
    training = Training(
        rank=rank or goal.training.rank, batch=batch or goal.training.batch, sequence_tokens=goal.context
    )
    return msgspec.structs.replace(goal, prompt_tokens=goal.context, training=training)


def narrowed(
    variants: str | None = None, quantizations: str | None = None, names: str | None = None, any_build: bool = False
) -> Narrowed:
    """From lists as a person writes them, ``phi-4,phi-4-mini``. Raises PhibenchError (exit 2) for a name of nothing."""

    def listed(text: str | None, flag: str) -> list[str]:
        return [] if text is None else units.names(text, flag)

    asked = listed(quantizations, "--quant")
    for name in asked:
        catalog.quantization(name)  # says which names there are
    engines = [backends.load(name) for name in listed(names, "--backend")]
    for engine in engines:
        if not engine.RECOMMENDABLE:
            raise PhibenchError(f"{engine.NAME} answers nothing, so it is never recommended")
    rows = (row for row in catalog.quantizations() if any(catalog.is_named(n, (row.id, *row.aliases)) for n in asked))
    return Narrowed(
        variants=tuple(catalog.variant(name).id for name in listed(variants, "--variant")),
        quantizations=tuple(dict.fromkeys(row.id for row in rows)),
        backends=tuple(engine.NAME for engine in engines),
        any_build=any_build,
    )


def candidates(
    machine: Machine, goal: Goal, runs: Sequence[Run] = (), only: Narrowed | None = None
) -> Iterator[Candidate]:
    """Builds that somebody publishes, and what was measured here. Whether a backend is installed here does not
    matter: the machine may be elsewhere."""
    only = only or Narrowed()
    here = _measured(machine, runs)
    for backend in map(backends.load, only.backends or backends.names()):
        if not backend.RECOMMENDABLE or (goal.training and not backend.TRAINS):
            continue
        kinds = _quantizations(backend, goal, only)
        for variant in catalog.variants():
            if only.variants and variant.id not in only.variants:
                continue
            for quantization, device in itertools.product(kinds, machine.devices):
                kind = device.kind.partition(":")[0]
                build = builds.offered(variant.id, quantization.format, quantization.id, kind)
                if _is_asked_for(build, goal, only) or (variant.id, quantization.id, backend.NAME, device.kind) in here:
                    yield Candidate(variant, quantization, backend, device, build)


def _quantizations(backend: Backend, goal: Goal, only: Narrowed) -> tuple[Quantization, ...]:
    found = (quantization for fmt in backend.FORMATS for quantization in catalog.quantizations(fmt))
    return tuple(
        q
        for q in found
        if (not only.quantizations or q.id in only.quantizations)
        and (not goal.training or q.id in finetuning.QUANTIZATIONS)
    )


def _is_asked_for(build: Build | None, goal: Goal, only: Narrowed) -> bool:
    """Published as it is; to train, also what is made of a checkpoint as it is opened."""
    published = build is not None and (not build.made or goal.training is not None)
    return published or only.any_build or bool(only.quantizations)


def _measured(machine: Machine, runs: Sequence[Run]) -> set[tuple[str, str, str, str]]:
    here = (run for run in runs if run.machine.identity == machine.identity)
    return {(s.variant, s.quantization, s.backend, s.device) for run in here for s in (r.setup for r in run.results)}


def kv_types(goal: Goal, backend: Backend) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Options of the KV cache to try, the usual one first."""
    smaller = goal.context >= LONG and has_small_kv(backend)
    return ((), SMALL_KV) if smaller else ((),)


def has_small_kv(backend: Backend) -> bool:
    return all(option in backend.LEGAL for option in costs.KV_OPTIONS)


def with_options(setup: Setup, more: Sequence[tuple[str, str]]) -> Setup:
    return msgspec.structs.replace(setup, options=tuple(sorted({**dict(setup.options), **dict(more)}.items())))
