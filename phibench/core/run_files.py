"""Run files: their names, and reading them."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from phibench.core.errors import FAILED, PhibenchError
from phibench.core.files import check_readable, explained
from phibench.core.nouns import SCHEMA, Cause, Failed, Result, Run

MAX_RUN_BYTES = 64 << 20  # a run file of a long suite is a few MB; a foreign file may be anything


def run_path(folder: Path, run: Run) -> Path:
    """``<results>/<machine slug>/<utc>-<suite>.json``."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", run.suite.name)
    return folder / run.machine.slug / f"{run.id}-{safe}.json"


def reserve(path: Path) -> bool:
    """Make an empty file that nobody has yet; False when somebody has. Raises PhibenchError (exit 1) on I/O errors."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    except FileExistsError:
        if path.parent.is_dir():
            return False
        raise PhibenchError(f"cannot write {path}: {path.parent} is not a folder", FAILED) from None
    except OSError as error:
        raise PhibenchError(f"cannot write {path}: {explained(error)}", FAILED) from None
    return True


def read_run(path: Path) -> Run:
    """One run file. Raises PhibenchError (exit 1) when it is damaged or foreign."""
    try:
        check_readable(path, MAX_RUN_BYTES)
        data = path.read_bytes()
    except FileNotFoundError:
        raise PhibenchError(f"there is no file {path}", FAILED) from None
    except OSError as error:
        raise PhibenchError(f"cannot read {path}: {explained(error)}", FAILED) from None
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.schema != SCHEMA:
            raise PhibenchError(
                f"{path} has schema {head.schema}, this phibench reads {SCHEMA}; upgrade phibench", FAILED
            )
        run = msgspec.json.decode(data, type=Run)
        msgspec.msgpack.encode(run)  # refuses integers beyond 64 bits, which arithmetic would choke on later
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise PhibenchError(f"{path} is not a phibench run: {explained(error)}", FAILED) from None
    return _as_today(run)


def _as_today(run: Run) -> Run:
    """With the fields that older files have in a text alone; nothing else reads them out of it."""
    tool = next(iter(run.imported.split()), msgspec.UNSET)
    return msgspec.structs.replace(
        run, results=tuple(map(_caused, run.results)), imported_tool=run.imported_tool or tool
    )


# How reasons begin in files from before the field ``cause``.
_BEGINNINGS: dict[str, Cause] = {"unavailable: ": "unavailable", "fallback: ": "fallback"}


def _caused(result: Result) -> Result:
    if not isinstance(result, Failed) or result.cause != "failed":
        return result
    for beginning, cause in _BEGINNINGS.items():
        if result.reason.startswith(beginning):
            why = result.reason.removeprefix(beginning) if cause == "unavailable" else ""
            return msgspec.structs.replace(result, cause=cause, why=why)
    return result


class _Head(msgspec.Struct):
    schema: int


def read_runs(folder: Path) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """All runs below ``folder``, oldest first, and one line for each file that was skipped and why."""
    runs, skipped = [], []
    for path in sorted(folder.rglob("*.json")) if folder.is_dir() else []:
        try:
            runs.append(read_run(path))
        except PhibenchError as error:
            skipped.append(str(error))
    return tuple(sorted(runs, key=lambda run: run.started)), tuple(skipped)
