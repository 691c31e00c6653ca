"""The process that opens models and answers: what an engine does to it, it does not do to the command.

``python -m phibench.verify.child FOLDER`` reads FOLDER/questions.json, writes N.npz and N.json there for each, and
says so with an empty line on stdout. It leaves when its stdin closes, as it does when the parent is gone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from phibench import backends, files
from phibench.errors import PhibenchError
from phibench.nouns import Engine, Job, Noun
from phibench.processes import leave_with_parent
from phibench.verify.small import Prompt

QUESTIONS = "questions.json"


class Question(Noun, frozen=True, kw_only=True):
    job: Job
    prompts: tuple[Prompt, ...]


class Answer(Noun, frozen=True, kw_only=True):
    """What ran, or why nothing did."""

    engine: Engine | None = None
    reason: str = ""


def main(arguments: Sequence[str]) -> None:
    private = os.dup(1)
    os.dup2(2, 1)  # C libraries print there
    leave_with_parent()
    folder = Path(arguments[0])
    questions = msgspec.json.decode((folder / QUESTIONS).read_bytes(), type=tuple[Question, ...])
    for number, question in enumerate(questions):
        answer = _answer(question, folder / f"{number}.npz")
        files.write_text(folder / f"{number}.json", msgspec.json.encode(answer).decode())
        os.write(private, b"\n")


def _answer(question: Question, path: Path) -> Answer:
    import numpy as np

    try:
        with backends.load(question.job.setup.backend).session(question.job) as session:
            scores = [session.score(prompt.tokens, prompt.then) for prompt in question.prompts]
            np.savez(path, *scores)
            return Answer(engine=session.engine)
    except (PhibenchError, MemoryError) as error:
        return Answer(reason=str(error) or "the process ran out of memory")


if __name__ == "__main__":
    main(sys.argv[1:])
