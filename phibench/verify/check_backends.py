"""Small models through every backend and precision: is it the same answer as torch float32 on the same weights?"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from phibench import backends, catalog
from phibench.backends import contract
from phibench.catalog.plans.hf_config import Factors
from phibench.core.errors import PhibenchError, unknown
from phibench.core.nouns import Artifact, Engine, Job, Setup, Variant
from phibench.core.processes import DiedError
from phibench.probe.system import limits as machine
from phibench.verify import ask, child, distances, seeded_models, weights
from phibench.verify.meant import Reference
from phibench.verify.outcomes import OnOutcome, Outcome
from phibench.verify.seeded_models import Model, Prompt

VARIANTS = ("phi-4-mini-instruct", "phi-2")  # grouped heads, partial rotary, LongRoPE, tied; biases, parallel block
THREADS = 2  # small matrices gain nothing from more; one would not show what threads do to each other
_REFERENCE = "torch"  # by definition: what float32 of PyTorch computes is right


class Trial(NamedTuple):
    """A small model, what it is asked, and the setup that shall answer.

    ``change``: what is written instead of the model that is meant, so that a fault can be planted (``faults``).
    """

    model: Model
    prompts: tuple[Prompt, ...]
    setup: Setup
    change: Callable[[Model], Model] | None = None

    @property
    def format(self) -> str:
        return format_of(self.setup)


def setups(
    variants: Sequence[str], names: Sequence[str] | None, quantizations: Sequence[str] | None, device: str
) -> tuple[list[Setup], list[Outcome]]:
    """What to compare, and what cannot be: its backend is not installed, or the variant has no such files.

    Raises PhibenchError (exit 2): a backend asked for by name is not installed; a quantization is nobody's; a variant
    is run by one backend at most; a backend cannot use the device; nothing is left to compare.
    """
    found, absent = [], []
    wanted = [backends.require(name) for name in names] if names else _with_files()
    formats = [module.FORMATS[0] for module in wanted if module.FORMATS]
    if not formats:
        raise PhibenchError(f"{', '.join(names or ())} opens no files, so there is no answer to verify")
    mine = {module.NAME: _quantizations(module, quantizations) for module in wanted if module.FORMATS}
    if quantizations and (nobodys := [q for q in quantizations if not any(_known(q, fmt) for fmt in formats)]):
        raise unknown(
            "quantization", nobodys[0], [q for module in wanted for q in module.VERIFIED], "see docs/verify.md"
        )
    for variant in variants:
        seeded_models.shrunk(catalog.variant(variant))  # one that no two backends run is refused
        for module in wanted:
            asked = [
                Setup(variant=variant, quantization=quantization, backend=module.NAME, device=device)
                for quantization in mine.get(module.NAME, ())
            ]
            if why := _absent(catalog.variant(variant), module):
                absent += [Outcome(setup=one, verdict=why[0], reason=why[1]) for one in asked[:1]]
            else:
                found += asked
    for one in found:
        backends.check_device(one)
    if not found:
        reasons = dict.fromkeys(f"{one.setup.backend}: {one.reason}" for one in absent)
        raise PhibenchError(f"there is nothing to compare; {'; '.join(reasons)}")
    return found, absent


def _absent(variant: Variant, module: contract.Backend) -> tuple[Literal["not installed", "no files"], str] | None:
    if module.installed() is None:
        return "not installed", backends.install_line(module)
    why = backends.objection(module, variant) if module.FORMATS else None
    return ("no files", why) if why else None


def format_of(setup: Setup) -> str:
    """Of the files that the setup's backend opens."""
    return backends.load(setup.backend).FORMATS[0]


def _with_files() -> list[contract.Backend]:
    return [module for name in backends.names() if (module := backends.load(name)).FORMATS]


def _known(name: str, fmt: str) -> str | None:
    try:
        return catalog.quantization(name, fmt).id
    except PhibenchError:
        return None


def _quantizations(module: contract.Backend, asked: Sequence[str] | None) -> tuple[str, ...]:
    if asked is None:
        return module.VERIFIED
    return tuple(dict.fromkeys(known for name in asked if (known := _known(name, module.FORMATS[0]))))


def gate(wanted: Sequence[Setup], seed: int, on_outcome: OnOutcome) -> list[Outcome]:
    """The outcome of every setup, told as it is known. Raises PhibenchError when there is no reference."""
    if (torch := backends.load(_REFERENCE)).installed() is None:
        line = backends.install_line(torch)
        raise PhibenchError(f"the reference is torch in float32, which is not installed: {line}")
    found = {}
    with Reference() as reference:
        for outcome in outcomes(trials(wanted, seed), reference):
            on_outcome(outcome)
            found[outcome.setup] = outcome
    return [found[setup] for setup in wanted]


def trials(wanted: Sequence[Setup], seed: int) -> list[Trial]:
    """Setups of one variant get the same model and the same prompts."""
    models = {
        name: seeded_models.model(catalog.variant(name), seed) for name in dict.fromkeys(one.variant for one in wanted)
    }
    prompts = seeded_models.prompts(seeded_models.VOCAB, seed)
    return [Trial(models[setup.variant], prompts, setup) for setup in wanted]


def outcomes(wanted: Sequence[Trial], reference: Reference, *, program: ask.Program = ()) -> Iterator[Outcome]:
    """Outcomes, backend by backend; ``program`` may plant a fault into sessions (``faults``)."""
    for trial, reply in answers(wanted, program=program):
        if reply.engine is None:
            yield Outcome(setup=trial.setup, verdict="failed", reason=reply.reason, kind=reply.kind)
            continue
        try:
            yield _judged(trial, reply, reference)
        except DiedError as died:
            yield Outcome(setup=trial.setup, verdict="failed", reason=str(died), kind=died.end.kind)


def _judged(trial: Trial, reply: ask.Reply, reference: Reference) -> Outcome:
    allowed = distances.limit(trial.model.shape.architecture, trial.format, trial.setup.quantization)
    checked, distance = measure(trial, reply, allowed.weights, reference)
    original = seeded_models.ORIGINAL_CONTEXT if trial.model.rope else None
    reasons = [_of_weights(checked), distances.objection(distance, allowed, trial.prompts, original)]
    why = "; ".join(filter(None, reasons))
    return Outcome(
        setup=trial.setup, verdict="differs" if why else "same", reason=why,
        distance=distance, limit=allowed, weights_error=checked.error,
    )  # fmt: skip


def answers(wanted: Sequence[Trial], *, program: ask.Program = ()) -> Iterator[tuple[Trial, ask.Reply]]:
    """What the engines answer, backend by backend, each in a process of its own that writes and reads its files."""
    threads = min(THREADS, machine.limits().threads)
    with tempfile.TemporaryDirectory(prefix="phibench-verify-") as folder:
        sources = _sources(wanted, Path(folder))
        for backend in dict.fromkeys(trial.setup.backend for trial in wanted):
            mine = [(trial, source) for trial, source in zip(wanted, sources, strict=True)
                    if trial.setup.backend == backend]  # fmt: skip
            questions = [_question(trial, source, threads) for trial, source in mine]
            yield from zip((trial for trial, _ in mine), ask.ask(questions, program=program), strict=True)


def measure(
    trial: Trial, reply: ask.Reply, weights_limit: float, reference: Reference
) -> tuple[weights.Check, distances.Distance]:
    """How far the file's weights are from the source, and the answer from the reference on those weights.

    Raises DiedError when the reference died.
    """
    model = trial.model
    checked = weights.check(model, reply.stored, weights_limit)
    assert reply.engine is not None
    meant = reference.logits(model.shape, checked.weights, _factors(trial, reply.engine), trial.prompts)
    return checked, distances.distance(meant, reply.logits)


def _sources(wanted: Sequence[Trial], folder: Path) -> list[child.Source]:
    """What is to be written for each trial. Those of one model, unchanged, share its weights."""
    import numpy as np

    found, known = [], dict[int, child.Source]()
    for number, trial in enumerate(wanted):
        key = -number - 1 if trial.change else id(trial.model)
        if key not in known:
            model = trial.change(trial.model) if trial.change else trial.model
            path = folder / f"{number}.npz"
            np.savez(path, **model.weights)  # type: ignore[arg-type]
            known[key] = child.Source(variant=model.variant, rope=model.rope, weights=str(path))
        found.append(known[key])
    return found


def _question(trial: Trial, source: child.Source, threads: int) -> child.Question:
    unwritten = Artifact(path="", bytes=0, weights="real")
    job = Job(setup=trial.setup, suite=ask.SUITE, workloads=(), artifact=unwritten, threads=threads)
    return child.Question(job=job, prompts=trial.prompts, source=source)


def _factors(trial: Trial, engine: Engine) -> Factors | None:
    """LongRoPE's factors as this engine uses them: chosen by the configured context, or by length."""
    rope, context = trial.model.rope, engine.context_tokens
    if rope is None or context is None or backends.load(trial.setup.backend).LONGROPE == "by_length":
        return rope
    chosen = rope[context > seeded_models.ORIGINAL_CONTEXT]
    return chosen, chosen


def _of_weights(checked: weights.Check) -> str | None:
    if not checked.off:
        return None
    worst, *more = checked.off
    how = "missing" if worst.error == math.inf else f"off by {worst.error:.0%} in one block, limit {worst.limit:.1%}"
    others = f" (and {len(more)} more)" if more else ""
    return f"{worst.name} in the file is {how}{others}; look at its scale, order and place"
