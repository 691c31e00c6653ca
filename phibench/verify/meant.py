"""The reference as the command has it: a process that computes what should have been answered, and may die, too."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from phibench.catalog.plans.hf_config import Factors
from phibench.core import ends, processes, text
from phibench.core.nouns import Shape
from phibench.probe import conditions
from phibench.verify.seeded_models import Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phibench.verify.seeded_models import Weights

PROGRAM = "phibench.verify.reference"  # not imported: it is for a process that has torch
SILENCE_S = 600.0  # for one task
_THEN = f"there is nothing to compare with; {ends.DOCTOR}"
_DONE = msgspec.json.Decoder(bool)
_MOST_DEATHS = 2  # what kills it twice kills it again


class Reference:
    """One process that stays, in a ``with``; it imports while the first answers are made. A fresh one after a death."""

    def __init__(self) -> None:
        self._silence_s = processes.silence_s(SILENCE_S)
        self._deaths = 0
        self._last: processes.DiedError | None = None  # of the process that we have
        self._folder = tempfile.TemporaryDirectory(prefix="phibench-verify-")
        self._child = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()
        self._folder.cleanup()

    def _start(self) -> processes.Child:
        return processes.Child(PROGRAM, oom_kills=conditions.oom_kills)

    def logits(
        self, shape: Shape, weights: Weights, rope: Factors | None, prompts: Sequence[Prompt]
    ) -> list[NDArray[np.float32]]:
        """As ``reference.logits``, which runs in the other process. Raises DiedError when that died."""
        import numpy as np

        if self._last:
            if self._deaths == _MOST_DEATHS:
                raise self._last
            self._child, self._last = self._start(), None
        asked, answer = (Path(self._folder.name) / name for name in ("weights.npz", "logits.npz"))
        np.savez(asked, **weights)  # type: ignore[arg-type]
        task = {"shape": shape, "rope": rope, "prompts": prompts, "weights": str(asked), "answer": str(answer)}
        self._child.tell(msgspec.json.encode(task))
        if next(self._child.events(_DONE, self._silence_s), None) is None:
            self._deaths, self._last = self._deaths + 1, self._died()
            raise self._last
        with np.load(answer) as stored:
            return [stored[key] for key in stored.files]

    def _died(self) -> processes.DiedError:
        engine, end = f"torch {importlib.metadata.version('torch')}", self._child.end()
        end = msgspec.structs.replace(end, said=text.scrub(end.said))
        doing = ends.DOING[self._child.phase].format("a small model")
        said = ends.sentence(f"the reference, {engine} in float32,", end, doing, _THEN)
        return processes.DiedError(said, end, self._child.phase, engine)
