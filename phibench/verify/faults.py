"""Planted faults: how the gate proves that it would catch one. For its tests and benchmarks/verify_thresholds.py.

A fault of the model goes into the file, which is written from another model than the one that is meant. The others go
into the process that answers: ``python -m phibench.verify.faults damaged FOLDER`` does what ``child`` does, but doubles
a scale in the bytes of each file that it has written, and with ``late`` its first step comes one position too late.
"""

# ruff: noqa: SLF001  a fault is planted where a session would have it: inside

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from phibench.core.nouns import Setup
from phibench.verify import child
from phibench.verify.ask import Program
from phibench.verify.seeded_models import Model

_GATE_UP = "model.layers.1.mlp.gate_up_proj.weight"
_NORM = "model.layers.1.input_layernorm.weight"


def swapped_factors(model: Model) -> Model:
    """LongRoPE's short factors where the long ones belong, and the reverse."""
    assert model.rope is not None
    return model._replace(rope=model.rope[::-1])


def inverted_factor(model: Model) -> Model:
    """One long factor divides where it should multiply."""
    assert model.rope is not None
    short, long = model.rope
    place = len(long) // 2
    return model._replace(rope=(short, (*long[:place], 1 / long[place], *long[place + 1 :])))


def dropped_norm(model: Model) -> Model:
    """The weight of one norm is all ones."""
    import numpy as np

    return model._replace(weights=model.weights | {_NORM: np.ones_like(model.weights[_NORM])})


def swapped_gate_up(model: Model) -> Model:
    """Gate and up of one layer in the wrong order."""
    import numpy as np

    gate, up = np.split(model.weights[_GATE_UP], 2)
    return model._replace(weights=model.weights | {_GATE_UP: np.concatenate([up, gate])})


def wider_rotary(model: Model) -> Model:
    """Partial rotary embedding ignored: whole heads are rotated."""
    return _rotary(model, model.shape.head_dim)


def narrower_rotary(model: Model) -> Model:
    """Sixteen dimensions too few are rotated."""
    return _rotary(model, model.shape.rope_dims - 16)


def _rotary(model: Model, dims: int) -> Model:
    shape = msgspec.structs.replace(model.shape, rope_dims=dims)
    rope = model.rope
    if rope:
        short, long = ((*one, *[one[-1]] * dims)[: dims // 2] for one in rope)
        rope = (short, long)
    return model._replace(variant=msgspec.structs.replace(model.variant, shape=shape), rope=rope)


def has_factors(model: Model) -> bool:
    return model.rope is not None


def has_gate(model: Model) -> bool:
    return _GATE_UP in model.weights


def is_partial(model: Model) -> bool:
    return model.shape.rope_dims < model.shape.head_dim


_IN_MODEL: dict[str, tuple[Callable[[Model], Model], Callable[[Model], bool]]] = {  # and where it makes sense
    "rope factors swapped": (swapped_factors, has_factors),
    "one rope factor inverted": (inverted_factor, has_factors),
    "norm weight dropped": (dropped_norm, lambda _: True),
    "gate and up swapped": (swapped_gate_up, has_gate),
    "rotary width ignored": (wider_rotary, is_partial),
    "rotary width 16 short": (narrower_rotary, lambda _: True),
}


class Fault(NamedTuple):
    """What it makes of the model, what program answers, in which (format, quantization) it makes sense."""

    change: Callable[[Model], Model] | None = None
    program: Program = ()
    fits: Callable[[str, str], bool] = lambda _format, _quantization: True


def faults_for(model: Model) -> dict[str, Fault]:
    """Every fault that makes sense in a model of this kind."""
    found = {name: Fault(change=change) for name, (change, fits) in _IN_MODEL.items() if fits(model)}
    found["scale of one block doubled"] = Fault(program=(__name__, "damaged"), fits=has_scales)
    found["position off by one"] = Fault(program=(__name__, "late"))
    return found


def damaged_scale(path: Path) -> str:
    """Double the scale of one block in a written file or folder; returns the name of the tensor."""
    return _damaged_onnx(path) if path.is_dir() else _damaged_gguf(path)


def has_scales(fmt: str, quantization: str) -> bool:
    """Whether the files of a quantization hold scales; torch makes its own when it opens a model."""
    return fmt != "torch" and quantization.lower() not in ("f16", "bf16", "fp16", "fp32")


_SCALE_AT = {"Q6_K": 208, "Q3_K": 108, "Q2_K": 80}  # of the fp16 scale in a block; 0 elsewhere (ggml-common.h)


def _damaged_gguf(path: Path) -> str:
    import gguf
    import numpy as np

    tensor = next(t for t in gguf.GGUFReader(path, "r+").tensors if t.name == "blk.1.ffn_down.weight")
    at = _SCALE_AT.get(tensor.tensor_type.name, 0)
    scale = tensor.data[0, at : at + 2].view(np.float16)  # of the mapped file
    scale *= np.float16(2)
    return str(tensor.name)


def _damaged_onnx(path: Path) -> str:
    import numpy as np
    import onnx

    from phibench.synth import onnx as writer

    names = [f"model.layers.1.mlp.{one}.MatMul.weight_scales" for one in ("down_proj", "fc2")]
    graph = onnx.load(path / writer.MODEL, load_external_data=False).graph
    found = next(one for one in graph.initializer if one.name in names)
    place = {entry.key: entry.value for entry in found.external_data}
    scale = np.memmap(path / writer.DATA, np.float32, "r+", offset=int(place["offset"]), shape=(1,))
    scale *= 2
    return str(found.name).removesuffix("_scales")


def main(arguments: Sequence[str]) -> None:
    """Answer with damaged files, or with sessions that lose a position between prompt and first step."""
    fault, *words = arguments
    {"damaged": _damage_files, "late": _lose_a_position}[fault]()
    child.main(words)


def _damage_files() -> None:
    write = child.write

    def damaging(setup: Setup, model: Model, folder: Path) -> Path:
        path = write(setup, model, folder)
        damaged_scale(path)
        return path

    child.write = damaging


def _lose_a_position() -> None:
    from phibench.backends.llama_cpp.open_model import OpenModel as Llama
    from phibench.backends.onnxruntime.open_model import OpenModel as Onnx
    from phibench.backends.torch.open_model import OpenModel as Torch

    Llama._decode_ids = _late_llama(Llama._decode_ids)  # type: ignore[method-assign]
    Onnx.score = _late_onnx(Onnx.score)  # type: ignore[method-assign]
    Torch.score = _late_torch(Torch.score)  # type: ignore[method-assign]


def _late_llama(decode: Callable[..., None]) -> Callable[..., None]:
    """The prompt's last token moves up by one position, and all that follows with it."""

    def late(session: Any, prompt: Sequence[int]) -> None:
        decode(session, prompt)
        memory = session._api.llama_get_memory(session._context)
        session._api.llama_memory_seq_add(memory, 0, len(prompt) - 1, len(prompt), 1)

    return late


def _late_torch(score: Callable[..., Any]) -> Callable[..., Any]:
    """After the prompt the tables of cosines and sines are read one row too far."""

    def late(session: Any, prompt: Sequence[int], then: Sequence[int]) -> Any:
        loop = session._loop
        feed = loop.feed

        def feeding(ids: Any) -> Any:
            found = feed(ids)
            if ids.shape[1] == len(prompt):
                loop._tables = {key: tuple(one.roll(-1, 0) for one in two) for key, two in loop._tables.items()}
            return found

        loop.feed = feeding
        try:
            return score(session, prompt, then)
        finally:
            loop.feed = feed
            loop.make_room(1)  # tables of a kind again

    return late


def _late_onnx(score: Callable[..., Any]) -> Callable[..., Any]:
    """The engine counts positions itself: a pad token slips in behind the prompt."""

    def late(session: Any, prompt: Sequence[int], then: Sequence[int]) -> Any:
        append = session._append

        def appending(ids: Any) -> None:
            if session._generator.token_count() == len(prompt):
                append(session._np.zeros(1, session._np.int32))
            append(ids)

        session._append = appending
        try:
            return score(session, prompt, then)
        finally:
            session._append = append

    return late


if __name__ == "__main__":
    main(sys.argv[1:])
