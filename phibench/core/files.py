"""Nouns <-> TOML and JSON, whole files written atomically. The only I/O of nouns.

What a user writes (suite, machine, goal) is read strictly: a misspelled key is an error that names it.
Run files ignore unknown fields within one schema number, so an upgrade orphans nothing.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from phibench.core.errors import FAILED, PhibenchError, unknown
from phibench.core.nouns import Machine
from phibench.core.text import decoded

T = TypeVar("T")
MAX_WRITTEN_BYTES = 1 << 20  # what a person writes is a few kB
_MOST_CHARS = 300  # of why something cannot be read


def check_readable(path: Path, most_bytes: float = math.inf) -> None:
    """OSError unless ``path`` is a file of at most so many bytes: a pipe may wait for ever, a device never end."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise OSError("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a file")
    if status.st_size > most_bytes:
        raise OSError(f"it has {status.st_size} bytes, more than any such file")


def read_strict(path: Path, kind: type[T]) -> T:
    """Read a ``.toml`` or ``.json`` file that a person wrote; every key must be known.

    Raises PhibenchError (exit 2) with the file, the key, and the nearest right name.
    """
    try:
        check_readable(path, MAX_WRITTEN_BYTES)
        text = decoded(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise PhibenchError(f"there is no file {path}") from None
    except OSError as error:
        raise PhibenchError(f"cannot read {path}: {explained(error)}") from None
    if not text.strip():
        raise PhibenchError(f"{path} is empty")
    try:
        data = msgspec.json.decode(text) if _is_json(path) else tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of tomllib also a number of too many digits
        raise PhibenchError(f"{path} is not valid {path.suffix[1:].upper() or 'TOML'}: {explained(error)}") from None
    return convert_strict(data, kind, str(path))


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def convert_strict(data: Any, kind: type[T], where: str) -> T:
    """Plain data to a noun; an unknown key or a wrong type is an error that names it."""
    if not isinstance(data, dict):
        raise PhibenchError(f"{where}: expected named values, found {type(data).__name__}")
    try:
        _check_keys(data, kind, where)
        _check_numbers(data, where)
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise PhibenchError(f"{where}: {explained(error)}") from None


def _check_keys(data: Any, kind: Any, where: str) -> None:
    if isinstance(data, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = _fields(kind)
        for key, value in data.items():
            if key not in fields:
                raise unknown("key", key, fields, f"known keys of {where}: {', '.join(fields)}")
            _check_keys(value, fields[key], f"{where}, [{key}]")
        return
    items = data if isinstance(data, list) else [data]
    if isinstance(data, dict) and get_origin(kind) is dict:
        items = list(data.values())
    for inner in get_args(kind):
        for item in items:
            _check_keys(item, inner, where)


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Its types by the names in files: asked for every row of a table."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def _check_numbers(data: Any, where: str) -> None:
    """Neither nan, nor infinity, nor an integer beyond 64 bits: no size or time is, and arithmetic fails on them."""
    if isinstance(data, dict):
        for key, value in data.items():
            _check_numbers(value, f"{where}, {key}")
    elif isinstance(data, list):
        for value in data:
            _check_numbers(value, where)
    elif isinstance(data, float | int) and not -(2.0**63) <= data < 2.0**63:
        raise PhibenchError(f"{where}: a number is out of range")


@contextlib.contextmanager
def atomic(path: Path, mode: str = "wb") -> Iterator[Any]:
    """Open a temporary file beside ``path``; it takes the name only when all went well.

    A crash, Ctrl-C or a full disk leaves the old file, or none. A link stays, what it leads to is replaced; a pipe
    or a device is written as it is. Raises PhibenchError (exit 1) on I/O errors.
    """
    encoding = None if "b" in mode else "utf-8"
    try:
        if path.exists() and not path.is_file():
            with path.open(mode, encoding=encoding) as stream:
                yield stream
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
        stream = temporary.open(mode.replace("w", "x"), encoding=encoding)
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise PhibenchError(f"cannot write {path}: {explained(error)}", FAILED) from None


def write_text(path: Path, text: str) -> None:
    with atomic(path, "w") as stream:
        stream.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write a noun or plain data as indented JSON, atomically."""
    with atomic(path) as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def json_text(value: Any) -> str:
    """A noun as JSON, for people too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode()


def check_machine_name(path: Path) -> None:
    """Raises PhibenchError for a name that is neither TOML nor JSON."""
    if path.suffix.lower() not in (".toml", ".json"):
        raise PhibenchError(
            f"cannot tell what to write into {path.name}: call it {path.stem or 'machine'}.toml or .json"
        )


def write_machine(path: Path, machine: Machine) -> None:
    """As ``--machine FILE`` reads it. What is not known is left out, as nouns do: TOML has no null."""
    check_machine_name(path)
    if _is_json(path):
        return write_json(path, machine)
    import tomli_w

    return write_text(path, tomli_w.dumps(msgspec.to_builtins(machine)))


def explained(error: BaseException) -> str:
    """In a line, however long the word is that it quotes."""
    said = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
    return said if len(said) <= _MOST_CHARS else f"{said[:_MOST_CHARS]}..."
