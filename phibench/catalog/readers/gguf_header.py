"""Reads the head of a GGUF file. The file is from anywhere: nothing in it is trusted.

Format: docs/gguf.md of ggml. Only the header is read; tensor data stays where it is.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from phibench.catalog import tensor_types
from phibench.catalog.readers import first_bytes, untrusted
from phibench.catalog.tensor_types import MetaValue, Tensor
from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Noun

# Far above any Phi (the largest: 643 tensors, some 40 keys, 10 MB of vocabulary) and far below what would hurt.
MAX_HEADER_BYTES = 64 << 20
MAX_TENSORS = 1 << 16
MAX_KEYS = 1 << 16
MAX_TEXT_BYTES = 16 << 20
MAX_DIMS = 4  # GGML_MAX_DIMS
MAX_NAME_BYTES = 64  # GGML_MAX_NAME

_STRING, _ARRAY = 8, 9
# Files that were cut with split(1) for the hub, before llama-gguf-split
_PIECE = re.compile(r"split-[a-z]{1,2}$|part-?\d+(of\d+)?$|part-?[a-z]{1,2}$|\.\d{3}$", re.IGNORECASE)
_PIECES = "its name is that of a piece: put all of them together, in order, into one file"
# What was taken out of ggml.h, with what took its place ("support has been removed from gguf files")
_GONE = {4: "Q4_0", 5: "Q4_0", 31: "Q4_0", 32: "Q4_0", 33: "Q4_0", 36: "IQ4_NL", 37: "IQ4_NL", 38: "IQ4_NL"}
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_NEWER = "this phibench does not know, of a fork of llama.cpp or a newer one: take another quantization, or upgrade"
_TYPE_NAMES = {kind.number: name for name, kind in tensor_types.TYPES.items()}


class Header(Noun, frozen=True, kw_only=True):
    """What a file says of itself. ``metadata`` has no arrays (vocabulary, merges): they are stepped over."""

    metadata: dict[str, MetaValue]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_bytes: int

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    @property
    def histogram(self) -> dict[str, int]:
        return dict(Counter(tensor.type for tensor in self.tensors))

    def text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def count(self, key: str) -> int | None:
        """A whole number; None for anything else (a file may say that it has NaN layers)."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_header(path: Path) -> Header:
    """The header of a GGUF file of version 2 or 3.

    Raises PhibenchError: exit 2 for what is not such a file, exit 1 for one that cannot be read or is cut off.
    """
    try:
        files.check_readable(path)
        first_bytes.check_finished(path)
        with path.open("rb") as stream:
            return _read(_Cursor(stream, path))
    except FileNotFoundError:
        raise untrusted.missing(path, "file") from None
    except OSError as error:
        raise untrusted.unreadable(path, error) from None


class _Cursor:
    """Reads forward through the header and never past its limit."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self.path = path
        self.file_bytes = path.stat().st_size
        self._buffer = b""
        self._start = 0  # place of the buffer in the file
        self._at = 0  # place in the buffer

    @property
    def place(self) -> int:
        return self._start + self._at

    def take(self, count: int) -> bytes:
        self._need(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def text(self, limit: int) -> str:
        (size,) = self.unpack("Q")
        if size > limit:
            raise self.bad(f"a text of {size} bytes")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise self.bad("a text that is not UTF-8") from None

    def skip(self, count: int) -> None:
        """Step over without reading."""
        self._check(count)
        if self._at + count <= len(self._buffer):
            self._at += count
            return
        self._start, self._at, self._buffer = self.place + count, 0, b""
        self._stream.seek(self._start)

    def skip_texts(self, count: int) -> None:
        """Step over ``count`` strings: a vocabulary has 200,000, so this is the one loop that must be quick."""
        unpack = struct.Struct("<Q").unpack_from
        while count:
            buffer, at, end = self._buffer, self._at, len(self._buffer) - 8
            while count and at <= end:
                after = at + 8 + unpack(buffer, at)[0]
                if after > len(buffer):
                    break
                at, count = after, count - 1
            self._at = at
            if count:
                (size,) = struct.unpack("<Q", self.take(8))
                if size > MAX_TEXT_BYTES:
                    raise self.bad(f"a text of {size} bytes")
                self.skip(size)
                count -= 1

    def bad(self, what: str) -> PhibenchError:
        where = f"{what} near byte {self.place}"
        return PhibenchError(f"{self.path} is not a GGUF file that can be read: {where}; download it again")

    def _check(self, count: int) -> None:
        if self.place + count > self.file_bytes:
            size = self.file_bytes
            raise PhibenchError(
                f"{self.path} is cut off: its {size} bytes end within the header; {_again(self.path)}", FAILED
            )
        if self.place + count > MAX_HEADER_BYTES:
            raise self.bad(f"a header of more than {MAX_HEADER_BYTES >> 20} MiB")

    def _need(self, count: int) -> None:
        self._check(count)
        if self._at + count > len(self._buffer):
            rest = self._buffer[self._at :]
            more = self._stream.read(max(count - len(rest), 1 << 20))
            self._start, self._at, self._buffer = self.place, 0, rest + more
            if len(self._buffer) < count:  # it shrank while we read
                self.file_bytes = self._start + len(self._buffer)
                self._check(count)


def _read(cursor: _Cursor) -> Header:
    tensors_count, keys_count = _counts(cursor)
    metadata: dict[str, MetaValue] = {}
    for _ in range(keys_count):
        key = cursor.text(1 << 16)
        value = _value(cursor, key)
        if value is not None:
            metadata[key] = value
    infos = list(_infos(cursor, tensors_count))
    alignment = metadata.get("general.alignment", tensor_types.ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise cursor.bad(f"an alignment of {alignment!r}")
    data_offset = -(-cursor.place // alignment) * alignment
    _check_order(cursor, infos, alignment)
    needs = max((data_offset + offset + tensor.bytes for tensor, offset in infos), default=data_offset)
    if needs > cursor.file_bytes:
        size, remedy = cursor.file_bytes, _again(cursor.path)
        raise PhibenchError(f"{cursor.path} is cut off: it has {size} bytes and needs {needs}; {remedy}", FAILED)
    return Header(
        metadata=metadata,
        tensors=tuple(tensor for tensor, _ in infos),
        data_offset=data_offset,
        file_bytes=cursor.file_bytes,
    )


def _check_order(cursor: _Cursor, infos: Iterable[tuple[Tensor, int]], alignment: int) -> None:
    """One tensor begins where the one before it ends, as llama.cpp demands (ggml, src/gguf.cpp): a damaged type or
    shape moves its end."""
    at = 0
    for tensor, offset in infos:
        if offset != at:
            raise cursor.bad(f"tensor {tensor.name!r} lies at {offset}, and the one before it ends at {at};")
        at += -(-tensor.bytes // alignment) * alignment


def _again(path: Path) -> str:
    """What to do about a file that ends too early: it may be one of several pieces."""
    return _PIECES if _PIECE.search(path.name) else untrusted.again(path)


def _counts(cursor: _Cursor) -> tuple[int, int]:
    """Magic, version and the two counts, each believed only within bounds."""
    magic = cursor.take(min(4, cursor.file_bytes))
    if magic != tensor_types.MAGIC:
        first_bytes.check(cursor.path, first_bytes.GGUF)
        remedy = _PIECES if _PIECE.search(cursor.path.name) else "download it again, or take a model in GGUF"
        raise PhibenchError(
            f"{cursor.path} is not a GGUF file: it starts with {magic!r}, not {tensor_types.MAGIC!r}: {remedy}"
        )
    (version,) = cursor.unpack("I")
    if version not in (2, 3):
        big = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
        why = "is big-endian" if big else f"has GGUF version {version}, and only 2 and 3 can be read"
        raise PhibenchError(f"{cursor.path} {why}; download or convert it anew")
    tensors_count, keys_count = cursor.unpack("QQ")
    if tensors_count > MAX_TENSORS or keys_count > MAX_KEYS:
        raise cursor.bad(f"{tensors_count} tensors and {keys_count} keys")
    return tensors_count, keys_count


def _value(cursor: _Cursor, key: str) -> MetaValue | None:
    """The value of a key; None for an array, which is stepped over."""
    (kind,) = cursor.unpack("I")
    if kind in _SCALARS:
        return cursor.unpack(_SCALARS[kind])[0]
    if kind == _STRING:
        return cursor.text(MAX_TEXT_BYTES)
    if kind != _ARRAY:
        raise cursor.bad(f"a value of type {kind} for {key!r}")
    inner, count = cursor.unpack("IQ")
    if inner == _STRING:
        cursor.skip_texts(count)
    elif inner in _SCALARS:
        cursor.skip(count * struct.calcsize("<" + _SCALARS[inner]))
    else:
        raise cursor.bad(f"an array of type {inner} for {key!r}")
    return None


def _infos(cursor: _Cursor, count: int) -> Iterator[tuple[Tensor, int]]:
    """Every tensor with its offset in the data."""
    seen = set()
    for _ in range(count):
        name = cursor.text(MAX_NAME_BYTES)
        (dims,) = cursor.unpack("I")
        if not 1 <= dims <= MAX_DIMS or name in seen:
            raise cursor.bad(f"tensor {name!r} twice or with {dims} dimensions")
        seen.add(name)
        shape = cursor.unpack(f"{dims}Q")
        number, offset = cursor.unpack("IQ")
        if number not in _TYPE_NAMES:
            instead = f"was taken out of llama.cpp: take the {_GONE[number]} file" if number in _GONE else _NEWER
            raise PhibenchError(f"{cursor.path}: tensor {name!r} has GGML type {number}, which {instead}")
        if min(shape) < 1 or math.prod(shape) >= 1 << 63:
            raise cursor.bad(f"tensor {name!r} with shape {shape}")
        try:
            yield tensor_types.tensor(name, shape, _TYPE_NAMES[number]), offset
        except ValueError as error:
            raise cursor.bad(str(error)) from None
