"""The process of one backend: writes its small files, opens them, answers, and reads their weights back.

What an engine does to it, it does not do to the command, and it meets no other engine.

``python -m phibench.verify.child FOLDER`` reads FOLDER/questions.json, writes N.npz and N.json there for each, and
says so with a line on stdout, the number. It leaves when its stdin closes, as it does when the parent is gone.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from phibench import backends
from phibench.backends.contract import Session
from phibench.catalog.plans.hf_config import Factors
from phibench.core import files, processes
from phibench.core.errors import OutOfMemoryError, PhibenchError
from phibench.core.nouns import Artifact, Engine, Job, Kind, Noun, Setup, Variant
from phibench.verify import formats
from phibench.verify.seeded_models import Model, Prompt, Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUESTIONS = "questions.json"


class Source(Noun, frozen=True, kw_only=True):
    """A small model that is to be written as a file; its weights are in an .npz, by name."""

    variant: Variant
    rope: Factors | None
    weights: str


class Question(Noun, frozen=True, kw_only=True):
    """``source``: what is written first, and opened instead of the job's artifact; None: the artifact is there."""

    job: Job
    prompts: tuple[Prompt, ...]
    source: Source | None = None


class Tensor(Noun, frozen=True, kw_only=True):
    """``seeded_models.Stored`` without its values, which are in the .npz beside the logits, by number."""

    name: str
    places: tuple[tuple[str, int | None, int | None], ...]


class Answer(Noun, frozen=True, kw_only=True):
    """What ran, or why nothing did. ``scores``: prompts answered; ``stored``: of a source, what its file holds."""

    engine: Engine | None = None
    reason: str = ""
    kind: Kind | None = None
    scores: int = 0
    stored: tuple[Tensor, ...] = ()


def main(arguments: Sequence[str]) -> None:
    private, board = processes.private_output(), processes.Board()
    processes.leave_with_parent()
    folder = Path(arguments[0])
    questions = msgspec.json.decode((folder / QUESTIONS).read_bytes(), type=tuple[Question, ...])
    for number, question in enumerate(questions):
        answer = _answer(question, folder / str(number), board.show)
        files.write_text(folder / f"{number}.json", msgspec.json.encode(answer).decode())
        os.write(private, b"%d\n" % number)


def _answer(question: Question, place: Path, show: Callable[[str], None]) -> Answer:
    """``place``: a folder of its own for what is written; the arrays go beside it."""
    import numpy as np

    try:
        job, model = question.job, _model(question.source)
        if model:
            show("preparing")
            place.mkdir()
            job = _with_file(job, write(job.setup, model, place))
        show("opening")
        with open_session(job) as session:
            show("prefill")
            scores = [session.score(prompt.tokens, prompt.then) for prompt in question.prompts]
            engine = session.engine
        show("finishing")
        held = list(_stored(job, model)) if model else []
        np.savez(place.with_suffix(".npz"), *scores, *(one.values for one in held))
        shutil.rmtree(place, ignore_errors=True)
        return Answer(engine=engine, scores=len(scores), stored=tuple(_told(one) for one in held))
    except MemoryError:
        return Answer(reason="the process ran out of memory", kind="out_of_memory")
    except OutOfMemoryError as error:
        return Answer(reason=str(error), kind="out_of_memory")
    except PhibenchError as error:
        return Answer(reason=str(error))


def open_session(job: Job) -> AbstractContextManager[Session]:
    """A fault may be planted here (``faults``)."""
    return backends.load(job.setup.backend).session(job)


def write(setup: Setup, model: Model, folder: Path) -> Path:
    """The file or folder of a model in ``folder``, as the setup's backend opens it."""
    path: Path = _format(setup).write(model, setup.quantization, folder)
    return path


def _stored(job: Job, model: Model) -> Iterator[Stored]:
    found: Iterator[Stored] = _format(job.setup).stored(model, job.setup.quantization, Path(job.artifact.path))
    return found


def _format(setup: Setup) -> Any:
    return format_module(backends.load(setup.backend).FORMATS[0])


def format_module(fmt: str) -> Any:
    """What writes and reads the small models of a format."""
    return importlib.import_module(f"{formats.__name__}.{fmt}")


def _model(source: Source | None) -> Model | None:
    import numpy as np

    if source is None:
        return None
    with np.load(source.weights) as stored:
        return Model(source.variant, {name: stored[name] for name in stored.files}, source.rope)


def _with_file(job: Job, path: Path) -> Job:
    parts = path.iterdir() if path.is_dir() else (path,)
    size = sum(part.stat().st_size for part in parts)
    return msgspec.structs.replace(job, artifact=Artifact(path=str(path), bytes=size, weights="real"))


def _told(one: Stored) -> Tensor:
    return Tensor(name=one.name, places=tuple((name, rows.start, rows.stop) for name, rows in one.places))


def read(path: Path) -> tuple[Answer, list[NDArray[np.float32]], tuple[Stored, ...]]:
    """In the parent: the answer with this path (N.json), its logits, what the file holds. The arrays are gone then."""
    import numpy as np

    answer = msgspec.json.decode(path.read_bytes(), type=Answer)
    arrays = path.with_suffix(".npz")
    if answer.engine is None:
        return answer, [], ()
    with np.load(arrays) as stored:
        values = [stored[key] for key in stored.files]
    arrays.unlink()
    held = tuple(
        Stored(one.name, [(name, slice(start, stop)) for name, start, stop in one.places], array)
        for one, array in zip(answer.stored, values[answer.scores :], strict=True)
    )
    return answer, values[: answer.scores], held


if __name__ == "__main__":
    main(sys.argv[1:])
