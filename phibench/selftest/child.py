"""The process in which an engine answers the tiny models: a question in on stdin, a line out for each quantization.

``python -m phibench.selftest.child``. Importing the engine is told apart from the test: it costs seconds, for any use.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from phibench import backends
from phibench.errors import OutOfMemoryError, PhibenchError
from phibench.nouns import Artifact, Job, Kind, Noun, Suite
from phibench.processes import Board, leave_with_parent, private_output
from phibench.selftest import answers, weights
from phibench.verify import judge, small

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUITE = Suite(name="selftest", question="Does it work here?", metrics=())
_IMPORTS = {
    "gguf": ("llama_cpp.llama_cpp",),
    "onnx": ("onnxruntime_genai", "onnxruntime.capi._pybind_state", "onnx"),
    "torch": ("phibench.torch_models.build", "transformers.models.phi3.modeling_phi3", "safetensors.numpy"),
}
# How far the answer may be from float32 on the same weights, in nat. Seen at most: 0.0055 (GGUF), 0.019 (ONNX), 0.016
# (torch). Of the matrices of the GGUF file, the least important one leads to 0.22 where it gives zeros, and to 0.089
# where every eighth row has the wrong sign (docs/selftest.md).
KL_MEAN, KL_MAX = 0.03, 0.06


class Question(Noun, frozen=True, kw_only=True):
    """``job``: setup and threads; its artifact and quantization are the test's own."""

    job: Job


class Answer(Noun, frozen=True, kw_only=True):
    """Of one quantization: where it ran, or what was wrong. ``last``: no more come."""

    kind: Kind | None = None
    reason: str = ""
    refused: str = ""  # no fault of the engine: a missing package, a device that is not here
    placement: str = ""
    kl_max: float | None = None  # nat
    seconds: float = 0.0
    import_s: float = 0.0
    last: bool = False


def main() -> int:
    private, board = private_output(), Board()
    question = msgspec.json.decode(sys.stdin.buffer.readline(), type=Question)
    leave_with_parent()
    job = question.job
    fmt = backends.load(job.setup.backend).FORMATS[0]
    board.show("opening")
    began = time.perf_counter()
    refused = _imports(fmt)
    import_s = time.perf_counter() - began
    made, names = weights.model(), answers.QUANTIZATIONS[fmt]
    for number, name in enumerate(names):
        answer = Answer(refused=refused) if refused else _answer(fmt, made, name, job, board)
        last = number == len(names) - 1 or bool(answer.kind or answer.refused)
        told = msgspec.structs.replace(answer, last=last, import_s=import_s)
        os.write(private, msgspec.json.encode(told) + b"\n")
        import_s = 0.0
        if last:
            break
    return 0


def _imports(fmt: str) -> str:
    """Import the engine; why it cannot be, "" where it can."""
    try:
        for module in ("numpy", *_IMPORTS[fmt]):
            importlib.import_module(module)
    except ImportError as error:
        return f"cannot be imported: {error}"
    return ""


def _answer(fmt: str, made: small.Model, name: str, job: Job, board: Board) -> Answer:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="phibench-selftest-") as folder:
        try:
            path = answers.write(fmt, made, name, Path(folder))
            given, placement = _asked(path, name, job, board)
        except (OutOfMemoryError, MemoryError) as error:
            return Answer(kind="out_of_memory", reason=str(error) or "it got no memory")
        except PhibenchError as error:
            return Answer(refused=str(error))
    distance = judge.distance([answers.load(fmt, name)], [given])
    wrong = not (distance.kl_mean <= KL_MEAN and distance.kl_max <= KL_MAX)  # NaN is no small distance
    return Answer(
        kind="wrong_numbers" if wrong else None, reason=_wrong(name, distance) if wrong else "", placement=placement,
        kl_max=None if wrong else distance.kl_max, seconds=time.perf_counter() - began,
    )  # fmt: skip


def _wrong(name: str, distance: judge.Distance) -> str:
    if math.isnan(distance.kl_max):
        return f"with {name} its answer has numbers that are none (NaN)"
    return f"with {name} its answer is {distance.kl_max:.2g} nat (KL) off, {KL_MAX:g} may be"


def _asked(path: Path, name: str, job: Job, board: Board) -> tuple[NDArray[np.float32], str]:
    """Logits of prompt and steps, and where the model was. The prompt is asked alone first, so that the phase shows."""
    parts = path.iterdir() if path.is_dir() else (path,)
    artifact = Artifact(path=str(path), bytes=sum(part.stat().st_size for part in parts), weights="real")
    quantization = job.setup.quantization if name == answers.MIXED else name
    setup = msgspec.structs.replace(job.setup, variant=weights.VARIANT, quantization=quantization)
    asked = weights.prompt()
    board.show("opening")
    with backends.load(setup.backend).session(msgspec.structs.replace(job, setup=setup, artifact=artifact)) as session:
        board.show("prefill")
        session.score(asked.tokens, ())
        board.show("decode")
        return session.score(asked.tokens, asked.then), session.engine.placement


if __name__ == "__main__":
    sys.exit(main())
