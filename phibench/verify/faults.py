"""Planted faults: how the gate proves that it would catch one. For its tests and benchmarks/verify_thresholds.py.

A fault of the model goes into the file, which is written from another model than the one that is meant. The others go
into the process that answers: ``python -m phibench.verify.faults damaged FOLDER`` does what ``child`` does, but doubles
a scale in the bytes of each file that it has written, and with ``late`` its first step comes one position too late.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from phibench import backends
from phibench.backends.contract import Session
from phibench.core.nouns import Job, Setup
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


def has_scales(fmt: str, quantization: str) -> bool:
    """Whether the files of a quantization hold scales that can be damaged."""
    return bool(child.format_module(fmt).has_scales(quantization))


def main(arguments: Sequence[str]) -> None:
    """Answer with damaged files, or with sessions that lose a position between prompt and first step."""
    fault, *words = arguments
    {"damaged": _damage_files, "late": _lose_a_position}[fault]()
    child.main(words)


def _damage_files() -> None:
    write = child.write

    def damaging(setup: Setup, model: Model, folder: Path) -> Path:
        path = write(setup, model, folder)
        child.format_module(backends.load(setup.backend).FORMATS[0]).damage_scale(path)
        return path

    child.write = damaging


def _lose_a_position() -> None:
    opening = child.open_session

    @contextmanager
    def late(job: Job) -> Iterator[Session]:
        faults = importlib.import_module(f"{backends.__name__}.{job.setup.backend}.faults")
        with opening(job) as session:
            faults.lose_a_position(session)
            yield session

    child.open_session = late


if __name__ == "__main__":
    main(sys.argv[1:])
