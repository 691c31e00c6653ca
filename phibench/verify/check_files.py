"""A user's files of one model against each other: do they give the same next-token distributions?

Weights are not compared with a source, for there is none: what quantization loses is part of the distance, so limits
are wide. They rest on published losses (catalog/quantizations) and catch a broken file, not a slightly worse one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from phibench import backends, catalog
from phibench.catalog.plans import gguf as plan_gguf
from phibench.catalog.readers import folder, gguf, gguf_header, gguf_kinds, hugging_face, onnx, untrusted
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Job, Setup
from phibench.probe.system import limits as machine
from phibench.verify import ask, child, distances, seeded_models
from phibench.verify.outcomes import OnOutcome, Outcome

LOSS_FACTOR = 5.0  # of the published mean loss: a smaller model, other text; a broken file is off by nats
LENGTHS = (32, 200)
_REFERENCE = "torch"  # by definition: of equally precise files what PyTorch computes is right
FLOOR = 0.02  # nat: 16-bit engines differ by some 0.001 on small models whatever the weights (docs/verify.md)
PEAK = 10.0  # one position may be off by so many times the mean
_SAME = ("layers", "hidden", "vocab")
_PADDED = 256  # llama.cpp's contexts are multiples: where LongRoPE's factors follow the context, prompts must, too


class File(NamedTuple):
    """What a file or folder says of itself."""

    path: Path
    format: str
    quantization: str
    numbers: dict[str, int | None]  # layers, hidden, vocab: what must be equal
    original_context: int | None  # of LongRoPE
    bytes: int


def compare(
    paths: Sequence[Path],
    seed: int,
    device: str,
    on_outcome: OnOutcome,
    begin: Callable[[Setup], None],
    trusted: Callable[[Sequence[Setup]], Sequence[Setup]],
) -> tuple[list[Outcome], str]:
    """Outcomes against the most precise file, and what was compared in words; ``begin`` hears who is asked.

    ``trusted`` gives setups the options without which their engines fail here.

    Raises PhibenchError: exit 2 for what is no model or not the same one, exit 1 when the reference gives no answer.
    """
    found = [look(path) for path in paths]
    if len(found) < 2:
        raise PhibenchError("one file has nothing to agree with: give -m twice or more, or none for the small models")
    _check_same(found)
    found.sort(key=lambda one: (-_bits(one), one.format != _REFERENCE))
    prompts = prompts_for(found, seed)
    best, *others = zip(found, trusted([_setup(one, device) for one in found]), strict=True)
    begin(best[1])
    meant = _reply(*best, prompts)
    if meant.engine is None:
        raise PhibenchError(f"{best[0].path}, the most precise, gives no answer: {meant.reason}", 1)
    outcomes = []
    for one, setup in others:
        begin(setup)
        outcome = _outcome(one, setup, _reply(one, setup, prompts), best[0], meant, prompts)
        on_outcome(outcome)
        outcomes.append(outcome)
    told = f"against {best[0].path.name} ({best[1].quantization}, {best[1].backend}); prompts of random token ids"
    return outcomes, told


def look(path: Path) -> File:
    """Raises PhibenchError (exit 2) for what phibench cannot open as a model, exit 1 for what cannot be read."""
    if path.is_dir():
        content = _content(path)
        kept = {key: content.numbers.get(key) for key in _SAME}
        original = _original(path) if content.longrope else None
        return File(path, content.format, content.quantization, kept, original, content.bytes)
    head = gguf_header.read_header(path)  # the one format that is a single file which strangers give away
    gguf_kinds.check_model(path, head)
    name = head.architecture
    longrope = any(tensor.name.startswith("rope_factors") for tensor in head.tensors)
    return File(
        path=path,
        format="gguf",
        quantization=_declared(path, head),
        numbers={
            "layers": head.count(f"{name}.block_count"),
            "hidden": head.count(f"{name}.embedding_length"),
            "vocab": next((t.shape[-1] for t in head.tensors if t.name == "token_embd.weight"), None),
        },
        original_context=head.count(f"{name}.rope.scaling.original_context_length") if longrope else None,
        bytes=head.file_bytes,
    )


def prompts_for(found: Sequence[File], seed: int) -> tuple[seeded_models.Prompt, ...]:
    """Prompts in which no engine changes LongRoPE's factors, and all use the same."""
    vocab = min(one.numbers["vocab"] or 0 for one in found)
    originals = {one.original_context for one in found if one.original_context}
    if not originals:
        return seeded_models.prompts(vocab, seed, LENGTHS)
    below, above = min(originals), max(originals)
    safe = [n for n in LENGTHS if -(-(n + seeded_models.STEPS + 1) // _PADDED) * _PADDED <= below or n > above]
    return seeded_models.prompts(vocab, seed, safe or (above + 8,))


def _content(path: Path) -> untrusted.Content:
    if (path / untrusted.ONNX).is_file():
        return onnx.read(path)
    if (path / untrusted.HUGGING_FACE).is_file() and any(path.glob("*.safetensors")):
        return hugging_face.read(path)
    folder.recognise(path)  # says what is wrong
    raise AssertionError


def _original(path: Path) -> int | None:
    """A package of onnxruntime-genai does not say; the other files will, or none of the prompts comes near it."""
    config = path / untrusted.HUGGING_FACE
    return (
        untrusted.count(untrusted.read_json(config), "original_max_position_embeddings") if config.is_file() else None
    )


def _declared(path: Path, head: gguf_header.Header) -> str:
    number = head.count("general.file_type")
    names = {kind.ftype: name for name, kind in plan_gguf.types().quantizations.items()}
    if number is None or (name := names.get(number & ~gguf.GUESSED)) is None:
        raise PhibenchError(f"{path} does not say its quantization (general.file_type {number}); convert it anew")
    return name


def _check_same(found: Sequence[File]) -> None:
    first = found[0]
    for other in found[1:]:
        for key in _SAME:
            mine, its = first.numbers[key], other.numbers[key]
            if mine != its:
                raise PhibenchError(
                    f"{first.path} and {other.path} are not the same model: {key} {mine} and {its}; "
                    "give files of one variant"
                )


def _bits(one: File) -> float:
    return catalog.quantization(one.quantization, one.format).bits


def _setup(one: File, device: str) -> Setup:
    """The file's own name stands where a variant would: files of one model need not be of the catalog."""
    backend = backends.require(backends.for_format(one.format)[0].NAME)
    setup = Setup(variant=one.path.name, quantization=one.quantization, backend=backend.NAME, device=device)
    backends.check_device(setup)
    return setup


def _reply(one: File, setup: Setup, prompts: Sequence[seeded_models.Prompt]) -> ask.Reply:
    artifact = Artifact(path=str(one.path), bytes=one.bytes, weights="real")
    job = Job(setup=setup, suite=ask.SUITE, workloads=(), artifact=artifact, threads=machine.limits().threads)
    return next(ask.ask([child.Question(job=job, prompts=tuple(prompts))]))


def _outcome(
    one: File, setup: Setup, reply: ask.Reply, best: File, meant: ask.Reply, prompts: Sequence[seeded_models.Prompt]
) -> Outcome:
    against = best.path.name
    if reply.engine is None:
        return Outcome(setup=setup, verdict="failed", reason=reply.reason, kind=reply.kind, against=against)
    distance = distances.distance(meant.logits, reply.logits)
    allowed = limit(best, one)
    why = distances.objection(distance, allowed, prompts, None)
    return Outcome(
        setup=setup, verdict="differs" if why else "same", reason=why or "", distance=distance, limit=allowed,
        against=against,
    )  # fmt: skip


def limit(best: File, one: File) -> distances.Limit:
    """LOSS_FACTOR times what both quantizations lose as published, and never less than FLOOR."""
    loss = LOSS_FACTOR * (_loss(best) + _loss(one))
    mean = max(loss, FLOOR)
    return distances.Limit(
        architecture="", format=one.format, quantization=one.quantization,
        kl_mean=mean, kl_max=PEAK * mean, agreement=0.0, weights=0.0,
    )  # fmt: skip


def _loss(one: File) -> float:
    """Published mean divergence from F16, in nat. It is known for GGUF alone; others lose what they are like."""
    row = catalog.quantization(one.quantization, one.format)
    if row.bits == 32:
        return 0.0
    known = catalog.quantization(row.like, "gguf").kld if row.like else row.kld
    if known is None:
        raise PhibenchError(f"no published loss is known for {one.quantization}, so there is no limit for {one.path}")
    return known
