"""The last answer to each question, beside the runs of its machine: ``<results>/<machine>/<goal>-<digest>.advice``.

JSON under a suffix of its own: whoever reads runs reads ``*.json``, and never meets it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import SCHEMA, Answer, Machine, Question

MAX_BYTES = 1 << 20  # an answer is a few kB; a foreign file may be anything


def path_of(folder: Path, machine: Machine, question: Question) -> Path:
    import hashlib  # loads OpenSSL

    digest = hashlib.sha256(msgspec.json.encode(question, order="sorted")).hexdigest()[:8]
    return folder / machine.slug / f"{question.goal}-{digest}.advice"


def read(path: Path, machine: Machine, question: Question) -> Answer | None:
    """None where nothing was asked before. Raises PhibenchError (exit 1) for what is no answer of this phibench to this
    question on this machine."""
    if not path.exists():
        return None
    try:
        files.check_readable(path, MAX_BYTES)
        found = msgspec.json.decode(path.read_bytes(), type=Answer)
        msgspec.msgpack.encode(found)  # refuses integers beyond 64 bits, which arithmetic would choke on later
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise PhibenchError(f"{path} is not a saved answer: {files.explained(error)}", FAILED) from None
    if found.schema != SCHEMA:
        raise PhibenchError(f"{path} has schema {found.schema}, this phibench reads {SCHEMA}", FAILED)
    if found.question != question or found.machine.identity != machine.identity:
        raise PhibenchError(f"{path} answers another question, or for another machine", FAILED)
    return found


def write(path: Path, answer: Answer) -> None:
    """Raises PhibenchError (exit 1) where it cannot be; what a link leads to is somebody else's and is left alone."""
    if path.is_symlink():
        raise PhibenchError(f"cannot write {path}: it is a link", FAILED)
    files.write_json(path, answer)
