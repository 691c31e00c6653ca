"""Which Phi and which quantization a GGUF file on disk is."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from phibench.catalog import plans
from phibench.catalog.plans import gguf as plan_gguf
from phibench.catalog.plans.base import Plan
from phibench.catalog.readers import first_bytes, gguf_kinds, untrusted, which
from phibench.catalog.readers.gguf_header import Header, read_header
from phibench.catalog.readers.untrusted import Said
from phibench.catalog.tensor_types import Tensor
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Noun, Variant

__all__ = ["Header", "Recognised", "read_header", "recognise"]

_HEAD = "output.weight"
_APART = ("rope_factors", _HEAD)
_WORDS = ("token_embd.weight", _HEAD, "output.bias")
GUESSED = 1024  # LLAMA_FTYPE_GUESSED: a flag beside the number
_BLOCK = re.compile(r"blk\.(\d+)\.")


class Recognised(Noun, frozen=True, kw_only=True):
    """A file with a name. ``plan`` has the file's own tensors (and the key-values of a synthetic twin)."""

    variant: str
    quantization: str
    header: Header
    plan: Plan
    artifact: Artifact
    notes: tuple[str, ...] = ()


def recognise(path: Path) -> Recognised:
    """Variant and quantization of a Phi file.

    Raises PhibenchError: exit 2 when it is no GGUF or no Phi, exit 1 when it cannot be read or is cut off.
    """
    header = read_header(path)
    said = _said(path, header)
    gguf_kinds.check(path, header, said)
    untrusted.required(said.numbers, ("layers", "hidden", "ffn", "heads", "vocab"), path)
    told = header.text("phibench.variant") if header.metadata.get("phibench.synthetic") is True else None
    variant, notes = which.variant(path, said, "gguf", told)
    layers = said.numbers["layers"] or 0
    _check_layers(path, header, layers)
    quantization, more = _quantization(path, header, variant, layers)
    planned = plans.plan(variant, quantization, layers, fmt="gguf")
    names = {tensor.name for tensor in header.tensors}
    plan = msgspec.structs.replace(
        planned,
        tensors=header.tensors,
        head=_HEAD if _HEAD in names else planned.embedding,
        file_bytes=header.file_bytes,
        tokenizer_bytes=0,
    )
    artifact = Artifact(
        path=str(path),
        bytes=header.file_bytes,
        weights="real" if told is None else "synthetic",
        layers=layers if layers < planned.of_layers else None,
        tensor_types=header.histogram,
        parameters=plan.parameters,
    )
    return Recognised(
        variant=variant.id,
        quantization=quantization,
        header=header,
        plan=plan,
        artifact=artifact,
        notes=(*_doubt(path), *notes, *more, *_strangers(header, planned)),
    )


def _doubt(path: Path) -> tuple[str, ...]:
    end = first_bytes.unfinished(path)
    return (f"its name ends in {end}, as of a download that is not finished",) if end else ()


def _check_layers(path: Path, header: Header, says: int) -> None:
    """Raises PhibenchError (exit 2) unless there are tensors of as many layers as the file says, as llama.cpp asks."""
    has = {found[1] for tensor in header.tensors if (found := _BLOCK.match(tensor.name))}
    if len(has) != says:
        raise PhibenchError(
            f"{path} says that it has {says} layers, and has tensors of {len(has)}: download or convert it anew"
        )


def _said(path: Path, header: Header) -> Said:
    a = header.architecture
    keys = {
        "layers": "block_count",
        "hidden": "embedding_length",
        "ffn": "feed_forward_length",
        "heads": "attention.head_count",
        "kv_heads": "attention.head_count_kv",
        "experts": "expert_count",
        "context": "context_length",
    }
    numbers = {name: header.count(f"{a}.{key}") for name, key in keys.items()}
    if numbers["kv_heads"] is None:  # what an absent key means
        numbers["kv_heads"] = numbers["heads"]
    numbers["experts"] = numbers["experts"] or 0
    numbers["vocab"] = next((t.shape[-1] for t in header.tensors if t.name == "token_embd.weight"), None)
    theta = header.metadata.get(f"{a}.rope.freq_base")
    given = [header.text(f"general.{key}") for key in ("basename", "size_label", "finetune")]
    bases = [header.text(f"general.base_model.{n}.{key}") for n in range(4) for key in ("name", "repo_url")]
    return Said(
        architecture=a,
        numbers=numbers,
        longrope=any(tensor.name.startswith("rope_factors") for tensor in header.tensors),
        rope_theta=float(theta) if isinstance(theta, int | float) else None,
        names=(header.text("general.name"), " ".join(given), *which.own_names(path), *bases),
        places=which.places(path),
    )


def _quantization(path: Path, header: Header, variant: Variant, layers: int) -> tuple[str, tuple[str, ...]]:
    """The declared quantization if the tensors can be it and weigh what it says, else the nearest of their kind."""
    untied = [tensor for tensor in header.tensors if tensor.name == _HEAD and variant.shape and variant.shape.tied]
    weighs = sum(tensor.bytes for tensor in header.tensors if tensor not in untied)
    planned = {name: plans.plan(variant, name, layers, fmt="gguf") for name in plan_gguf.types().quantizations}
    off = {name: abs(weighs / plan.weights_bytes - 1) for name, plan in planned.items()}
    most, declared = _most(header.tensors), _declared(header)
    kin = [name for name, plan in planned.items() if _most(plan.tensors) == most]
    fitting = [name for name in kin if off[name] < plan_gguf.SAME_SIZE]
    if declared and off[declared] < plan_gguf.SAME_SIZE and most in planned[declared].histogram:
        fitting = [declared]
    if not fitting:
        near = min(kin, key=lambda name: off[name], default=None)
        more = near and weighs > planned[near].weights_bytes
        far = f", {off[near]:.0%} {'more' if more else 'fewer'} bytes than {near}" if near else ""
        raise PhibenchError(
            f"{path} has tensor types that are no known quantization of {variant.id} ({_types(header)}), most weights "
            f"in {most}{far}: take one of 'phibench models'"
        )
    chosen = min(fitting, key=lambda name: off[name])
    apart = ("its head is a matrix of its own, which the original shares with the embedding",) if untied else ()
    if _mix(planned[chosen].tensors) == _mix([tensor for tensor in header.tensors if tensor not in untied]):
        return chosen, apart
    said = "" if chosen == declared else f"; the file calls itself {declared or 'nothing that phibench knows'}"
    version = plan_gguf.types().llama_cpp
    note = f"its tensor types ({_types(header)}) are not those of {chosen} in llama.cpp {version}{said}"
    return chosen, (*apart, note)


def _strangers(header: Header, planned: Plan) -> tuple[str, ...]:
    """By name and shape; LongRoPE's factors, a head of its own and more words are told elsewhere."""
    has, due = ({t.name: t.shape for t in tensors} for tensors in (header.tensors, planned.tensors))
    apart = {name for name in (*has, *due) if name.startswith(_APART)}
    other = {name for name in has.keys() & due.keys() if has[name] != due[name] and name not in _WORDS}
    counts = (
        (due.keys() - has.keys() - apart, "missing"),
        (has.keys() - due.keys() - apart, "unknown"),
        (other, "of another shape"),
    )
    said = [f"{len(names)} {word} ({min(names)})" for names, word in counts if names]
    return (f"its tensors are not those of {planned.variant}: {', '.join(said)}",) if said else ()


def _most(tensors: Sequence[Tensor]) -> str:
    """The type of most weights: a size alone may be that of another type, as MXFP4's is near IQ3_M's."""
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[tensor.type] += math.prod(tensor.shape)
    return weights.most_common(1)[0][0] if weights else "nothing"


def _mix(tensors: Sequence[Tensor]) -> Counter[str]:
    """Types of what was learnt: LongRoPE's factors are left out by some converters."""
    return Counter(tensor.type for tensor in tensors if not tensor.name.startswith("rope_factors"))


def _declared(header: Header) -> str | None:
    number = header.count("general.file_type")
    by_number = {kind.ftype: name for name, kind in plan_gguf.types().quantizations.items()}
    return None if number is None else by_number.get(number & ~GUESSED)


def _types(header: Header) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(header.histogram.items()))
