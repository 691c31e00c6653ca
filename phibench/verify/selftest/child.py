"""The process in which an engine answers the tiny models: a job in on stdin, out a line for each quantization.

The first line says that the engine is imported: silence before it may be a slow disk, after it the engine hangs.
``python -m phibench.verify.selftest.child``. Importing the engine is told apart from the test: it costs seconds, for
any use.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from phibench import backends
from phibench.core.errors import OutOfMemoryError, PhibenchError, UnavailableError
from phibench.core.nouns import Artifact, Job, Kind, Noun, Suite
from phibench.core.processes import Board, leave_with_parent, private_output
from phibench.verify import distances, seeded_models
from phibench.verify.selftest import answers, weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Outcome = Literal["passed", "failed", "refused"]  # refused: it could not be asked, which says nothing of the engine
SUITE = Suite(name="selftest", question="Does it work here?", metrics=())
# How far the answer may be from float32 on the same weights, in nat. Seen at most: 0.0080 (GGUF), 0.024 (ONNX), 0.016
# (torch). Of the matrices of the GGUF file, the least important one leads to 0.22 where it gives zeros, and to 0.089
# where every eighth row has the wrong sign (docs/selftest.md).
KL_MEAN, KL_MAX = 0.03, 0.06


class Imported(Noun, frozen=True, kw_only=True, tag=True):
    """The first line: the engine is imported, and how long that took; or why it is not."""

    seconds: float = 0.0
    missing: str = ""  # the package that is not here
    broken: str = ""


class Answer(Noun, frozen=True, kw_only=True, tag=True):
    """Of one quantization: where it ran, or what was wrong. ``last``: no more come.

    ``kind`` of one that failed: None where the engine itself said no. "skipped": the device has no such kernel.
    """

    outcome: Outcome | Literal["skipped"]
    kind: Kind | None = None
    reason: str = ""
    placement: str = ""
    kl_max: float | None = None  # nat
    seconds: float = 0.0
    last: bool = False


def main() -> int:
    private, board = private_output(), Board()
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    leave_with_parent()
    backend = backends.load(job.setup.backend)
    fmt = backend.FORMATS[0]
    imported = _imports(backend.ENGINE.imports if backend.ENGINE else ())
    os.write(private, msgspec.json.encode(imported) + b"\n")
    if imported.missing or imported.broken:
        return 0
    made, names = weights.model(), answers.quantizations(fmt)
    for name in names:
        answer = _answer(fmt, made, name, job, board)
        last = name == names[-1] or answer.outcome in ("failed", "refused")
        os.write(private, msgspec.json.encode(msgspec.structs.replace(answer, last=last)) + b"\n")
        if last:
            break
    return 0


def _imports(modules: Sequence[str]) -> Imported:
    began = time.perf_counter()
    try:
        for module in ("numpy", *modules):
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        return Imported(missing=f"a package is missing: {error}")
    except ImportError as error:
        return Imported(broken=f"cannot be imported: {error}")
    return Imported(seconds=time.perf_counter() - began)


def _answer(fmt: str, made: seeded_models.Model, name: str, job: Job, board: Board) -> Answer:
    """``job.artifact`` is the folder for its files."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=job.artifact.path) as folder:
        try:
            path = answers.write(fmt, made, name, Path(folder))
        except (PhibenchError, OSError) as error:
            return Answer(outcome="refused", reason=f"its tiny model cannot be written: {error}")
        try:
            given, placement = _asked(path, name, job, board)
        except (OutOfMemoryError, MemoryError) as error:
            return Answer(outcome="refused", reason=f"it has no memory for a tiny model: {error}".rstrip(": "))
        except UnavailableError as error:
            return Answer(outcome="skipped", reason=str(error))
        except PhibenchError as error:
            return Answer(outcome="failed", reason=f"with {name} it says: {error}")
    distance = distances.distance([answers.load(fmt, name)], [given])
    wrong = not (distance.kl_mean <= KL_MEAN and distance.kl_max <= KL_MAX)  # NaN is no small distance
    if wrong:
        return Answer(outcome="failed", kind="wrong_numbers", reason=f"gives wrong numbers: {_wrong(name, distance)}")
    seconds = time.perf_counter() - began
    return Answer(outcome="passed", placement=placement, kl_max=distance.kl_max, seconds=seconds)


def _wrong(name: str, distance: distances.Distance) -> str:
    if math.isnan(distance.kl_max):
        return f"with {name} its answer contains NaN"
    return f"with {name} its answer is {distance.kl_max:.2g} nat (KL) off, limit {KL_MAX:g}"


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
