"""Ask backends in a process of their own; an engine that dies is a reason, not the end of the command."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from phibench import backends
from phibench.core import ends, files, processes, text
from phibench.core.nouns import Engine, Kind, Setup, Suite
from phibench.probe import conditions
from phibench.verify import child
from phibench.verify.child import Question
from phibench.verify.seeded_models import Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUITE = Suite(name="verify", question="Is it the same answer?", metrics=())
SILENCE_S = 600.0  # for one question
Program = tuple[str, ...]  # a module and its words, before the folder
PROGRAM: Program = (child.__name__,)
_NUMBER = msgspec.json.Decoder(int)


class Reply(NamedTuple):
    """Logits of every prompt, and the engine that gave them; or ``reason``, why there are none.

    ``kind`` says how it died, None that it refused. ``stored``: what the file that was written holds.
    """

    logits: tuple[NDArray[np.float32], ...] = ()
    engine: Engine | None = None
    reason: str = ""
    kind: Kind | None = None
    stored: tuple[Stored, ...] = ()


def ask(questions: Sequence[Question], *, program: Program = ()) -> Iterator[Reply]:
    """A reply to each question, in order, from one process; when it dies, the questions after that get a fresh one.

    All are of one backend, as no two engines may share a process. ``program``: what runs instead of PROGRAM, so that a
    fault can be planted into it.
    """
    left = list(questions)
    assert len({one.job.setup.backend for one in left}) < 2, "each backend gets a process of its own"
    silence_s = processes.silence_s(SILENCE_S)
    module, *words = program or PROGRAM
    while left:
        with tempfile.TemporaryDirectory(prefix="phibench-verify-") as name:
            folder, answered = Path(name), 0
            files.write_text(folder / child.QUESTIONS, msgspec.json.encode(left).decode())
            with processes.Child(module, [*words, name], oom_kills=conditions.oom_kills) as process:
                for number in process.events(_NUMBER, silence_s):
                    if number == answered:
                        yield _reply(folder / f"{number}.json")
                        answered += 1
                    if answered == len(left):
                        break
            if answered < len(left):
                yield _died(left[answered].job.setup, process)
        left = left[answered + 1 :]


def _reply(path: Path) -> Reply:
    answer, logits, held = child.read(path)
    return Reply(tuple(logits), answer.engine, text.scrub(answer.reason), answer.kind, held)


def _died(setup: Setup, process: processes.Child) -> Reply:
    backend, end = backends.load(setup.backend), process.end()
    doing = ends.DOING[process.phase].format("a small model")
    reason = ends.sentence(f"{backend.PACKAGE} {backend.installed() or ''}".strip(), end, doing, ends.NEXT[end.kind])
    return Reply(reason=text.scrub(reason), kind=end.kind)
