"""Ask backends in a process of their own; an engine that dies is a reason, not the end of the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Self

import msgspec

from phibench import files, units
from phibench.nouns import Engine, Suite
from phibench.verify import child
from phibench.verify.child import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUITE = Suite(name="verify", question="Is it the same answer?", metrics=())
TIMEOUT_S = 600.0  # for one question


class Reply(NamedTuple):
    """Logits of every prompt, and the engine that gave them; or ``reason``, why there are none."""

    logits: tuple[NDArray[np.float32], ...] = ()
    engine: Engine | None = None
    reason: str = ""


def ask(
    questions: Sequence[Question], *, program: str = child.__name__, timeout_s: float = TIMEOUT_S
) -> Iterator[Reply]:
    """A reply to each question, in order, from one process; when it dies, the questions after that get a fresh one.

    ``program``: the module that runs, so that a fault can be planted into a session.
    """
    left = list(questions)
    while left:
        with tempfile.TemporaryDirectory(prefix="phibench-verify-") as name:
            answered = 0
            with _Child(Path(name), left, program, timeout_s) as process:
                for number in process.answers():
                    yield _reply(Path(name), number)
                    answered = number + 1
            if answered < len(left):
                yield Reply(reason=files.scrub(process.reason()))
        left = left[answered + 1 :]


def _reply(folder: Path, number: int) -> Reply:
    import numpy as np

    answer = msgspec.json.decode((folder / f"{number}.json").read_bytes(), type=child.Answer)
    if answer.engine is None:
        return Reply(reason=files.scrub(answer.reason))
    with np.load(folder / f"{number}.npz") as stored:
        return Reply(tuple(stored[key] for key in stored.files), answer.engine)


class _Child:
    """The process; it is gone when the ``with`` is left."""

    def __init__(self, folder: Path, questions: Sequence[Question], program: str, timeout_s: float) -> None:
        files.write_text(folder / child.QUESTIONS, msgspec.json.encode(tuple(questions)).decode())
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        detached = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}  # Ctrl-C is for the parent, which then ends the child
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", program, str(folder)],  # -P: no module from the current folder
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, **detached,
        )  # fmt: skip
        self._timeout_s = timeout_s
        self._hung = False
        self._tail = ""  # last line of stderr, known after the end

    def __enter__(self) -> Self:
        return self

    def answers(self) -> Iterator[int]:
        """Number of every answer, as it comes; the process is ended when none comes in time."""
        assert self._process.stdout is not None
        number = 0
        while True:
            timer = threading.Timer(self._timeout_s, self._end)
            timer.daemon = True
            timer.start()
            try:
                line = self._process.stdout.readline()
            finally:
                timer.cancel()
            if not line:
                return
            yield number
            number += 1

    def _end(self) -> None:
        self._hung = True
        self._process.kill()

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:  # Ctrl-C, or nobody wants the answers that are left
            self._process.kill()
        with contextlib.suppress(OSError):
            self._process.stdout.close()  # type: ignore[union-attr]
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 4096))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._tail = lines[-1].strip()[:300] if lines else ""
        self._errors.close()

    def reason(self) -> str:
        """Why an answer did not come, in words."""
        code, last = self._process.returncode, f": {self._tail}" if self._tail else ""
        if self._hung:
            return f"no answer within {units.duration(self._timeout_s)}; ended"
        if code >= 0:
            return f"the process left with code {code}{last}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"the process was ended by {name}{last}"
