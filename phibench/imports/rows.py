"""A file of another tool as rows of JSON, whatever a shell, a log or a killed program made of it.

What is no row is other text and passed over; a row that cannot be read is named, and the next one is looked for.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from phibench.core.errors import PhibenchError

MAX_ROWS = 10_000
_BEGIN = re.compile(r'\{(?=\s*")')  # of an object; a log's own brace has another neighbour: {Device 0}
# Between rows: lists that begin and end (a log may begin a line with [ too), and lines of other text. A mark of the
# byte order stands where files were joined.
_LISTS = re.compile(r"^[ \t]*(?P<open>\[)[ \t\r]*$|(?P<last>\[)\s*\Z|^[ \t]*\]", re.MULTILINE)
_OTHER = re.compile(r"^[\[\], \t\r\ufeff]*+[^\[\], \t\r\n\ufeff].*", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# What printf of C makes of numbers that are none: glibc and macOS, then Microsoft's of all years.
_NO_NUMBER = r"(?<=[:\[,\s])([-+]?(?:nan(?:\(\w{0,20}\))?|inf(?:inity)?|\d\.#\w{2,9}))(?=\s*[,\]}])"
_ONE, _STRING_OR_ONE = re.compile(_NO_NUMBER, re.I), re.compile(rf'"(?:[^"\\\n]|\\.)*+"?|{_NO_NUMBER}', re.I)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
          codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # fmt: skip
_LATIN = re.compile(rb"[\t\n\r -~]{100}")  # not in UTF-16
_TWO = "{} is UTF-16 in one part only, as PowerShell's > and >> write it; write each part to a file of its own"
_OTHERS = {  # first bytes of what is no text: what it is, and what to do
    b"GGUF": "a model; phibench run latency -m measures it",
    b"\x1f\x8b": "packed by gzip; unpack it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"SQLite format 3": 'a database; sqlite3 -json FILE "SELECT * FROM llama_bench" prints its rows',
}


class Refused(NamedTuple):
    """A row that is not taken over, and why, in words."""

    line: int
    why: str


class Doubled(dict[str, Any]):
    """An object with a key that stands twice: readers differ in which one counts."""

    key = ""


class Found(NamedTuple):
    """``others``: lines of other text. ``open_since``: where a list begins whose rows are whole and that has no end."""

    rows: list[tuple[int, dict[str, Any]]]
    refused: list[Refused]
    others: int
    open_since: int | None


# ----------------------------------------------------------------------------------------------------- bytes to text


def text_of(content: bytes, name: str) -> str:
    """UTF-8, or UTF-16 as PowerShell's ``>`` writes it, without the colours of a terminal.

    A file that was cut off within a character keeps what stands before. Raises PhibenchError for anything else.
    """
    if other := next((what for mark, what in _OTHERS.items() if content.startswith(mark)), None):
        raise PhibenchError(f"{name} is {other}")
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or _unmarked(content[:4096])
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(content[len(mark) :]).rstrip("\0")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start + len(mark)) + 1
        wrong = f"{name}, line {line}: this is not {encoding.upper()} text; save the file as UTF-8"
        raise PhibenchError(_TWO.format(name) if encoding == "utf-8" and b"\0" in content else wrong) from None
    if "\0" in text or (encoding != "utf-8" and _LATIN.search(content)):
        raise PhibenchError(_TWO.format(name))
    return _COLOURS.sub("", text)


def _unmarked(sample: bytes) -> str:
    """Latin letters in UTF-16 have a NUL in every second byte."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if max(even, odd) > len(sample) // 4 > 8 * min(even, odd):
        return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8"


# ------------------------------------------------------------------------------------------------------ text to rows


def found(text: str, name: str, is_row: Callable[[dict[str, Any]], bool]) -> Found:
    """Every row in arrays, on lines, or behind the words of a log; other objects are other text.

    Raises PhibenchError for what nobody would call a file of rows: nested without end, damaged all over.
    """
    if _ONE.search(text):
        text = _STRING_OR_ONE.sub(lambda word: "NaN" if word[1] else word[0], text)
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer)
    rows: list[tuple[int, dict[str, Any]]] = []
    refused: list[Refused] = []
    between = _Between()
    at, number, spent, cut = 0, 1, 0, False
    while begin := _BEGIN.search(text, at):
        between.add(text[at : begin.start()], number)
        number += text.count("\n", at, begin.start())
        try:
            value, at = decoder.raw_decode(text, begin.start())
        except RecursionError:
            raise PhibenchError(f"{name}, line {number}: nested too deeply") from None
        except json.JSONDecodeError as error:
            later = _BEGIN.search(text, begin.end())
            at = later.start() if later else len(text)
            cut = at == len(text) and "}" not in text[error.pos :]
            refused.append(Refused(number, _cut(error.msg, ends=cut)))
            spent += _read(text, error.pos) - begin.start()
        else:
            if is_row(value):
                rows.append((number, value))
            else:
                between.other(number)
        if len(rows) > MAX_ROWS:
            raise PhibenchError(f"{name}, line {number}: more than {MAX_ROWS} tests; split the file")
        if len(refused) > MAX_ROWS or spent > 4 * len(text) + (1 << 20):
            raise PhibenchError(f"{name}, line {number}: too much of it is damaged")
        number += text.count("\n", begin.start(), at)
    between.add(text[at:], number)
    return Found(rows, refused, between.others, None if cut else between.open_since)


class _Between:
    """What stands between the rows, from the first line to the last."""

    def __init__(self) -> None:
        self.others = self._last = 0
        self.open_since: int | None = None

    def add(self, part: str, number: int) -> None:
        last = deque(_LISTS.finditer(part), maxlen=1)
        if last:
            self.open_since = number + part.count("\n", 0, last[0].start()) if last[0].lastgroup else None
        at = 0
        for found in _OTHER.finditer(part):
            number += part.count("\n", at, found.start())
            at = found.start()
            self.other(number)

    def other(self, number: int) -> None:
        """One more line of other text, unless it is the same."""
        self.others += number > self._last
        self._last = number


def _read(text: str, at: int) -> int:
    """How far the decoder may have looked: a string ends with its line at the latest."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _cut(error: str, *, ends: bool) -> str:
    return f"it is cut off, the file ends within it ({error})" if ends else f"it is cut off or not JSON ({error})"


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled, seen = Doubled(found), set[str]()
    for key, _ in pairs:
        if key in seen:
            doubled.key = key
            break
        seen.add(key)
    return doubled


def _integer(digits: str) -> float:
    """No number of a test has 20 digits."""
    return int(digits) if len(digits) < 20 else math.inf
