"""Text that people read: numbers with the digits that matter, lines of a width, nothing that steers a terminal.

And text that their editors and shells wrote, in whatever encoding.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import math
import os
import re
import shutil

from phibench.core import folders
from phibench.core.errors import PhibenchError

PIPE_WIDTH = 120  # columns when the output is no terminal
# A home folder, of anybody, on any system; on Windows a name may be of several words
_NAME = r"[^\s/\\:;,'\"()]+"
_HOMES = re.compile(
    rf"(?:[A-Za-z]:|/mnt/[a-z])[/\\]{{1,4}}Users[/\\]{{1,4}}{_NAME}(?: {_NAME}){{0,2}}(?=[/\\])|"
    rf"(?:[A-Za-z]:|/mnt/[a-z])?[/\\]{{1,4}}(?:home|Users)[/\\]{{1,4}}{_NAME}",
    re.IGNORECASE,
)


def number(value: float, decimals: int | None = None) -> str:
    """Three significant digits, never an exponent: ``12.3``, ``0.0812``, ``1234``."""
    return f"{value:.{places(value) if decimals is None else decimals}f}"


def places(value: float) -> int:
    """Digits behind the point that leave three significant ones."""
    if not value or not math.isfinite(value):
        return 0
    return max(0, min(9, 2 - math.floor(math.log10(abs(value)))))


def wrap(text: str, width: int | None = None) -> list[str]:
    """Words in lines of at most ``width``, continued lines set in."""
    from rich.console import Console
    from rich.text import Text

    lines = Text(plain(text)).wrap(Console(file=io.StringIO()), max(width or terminal_width(), 20) - 2)
    return [("  " if i else "") + line.plain.rstrip() for i, line in enumerate(lines)]


def terminal_width() -> int:
    return shutil.get_terminal_size((PIPE_WIDTH, 24)).columns


def plain(text: str) -> str:
    """One line without control characters, text-direction marks or broken Unicode."""
    return "".join(c if _visible(c) else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def _visible(char: str) -> bool:
    return char.isprintable() or char == " "


def base_name(path: str) -> str:
    """Of a path from any system: a folder may hold a user's name."""
    return re.split(r"[/\\]", path)[-1]


def scrub(text: str) -> str:
    """Text for a shared file: no home folder, host name or user name."""
    import getpass
    import socket

    home = folders.home()
    if home and str(home) != home.anchor:  # a container's home may be the root folder
        text = text.replace(str(home), "~")
    text = re.sub(_HOMES, "~", text)
    host = socket.gethostname()
    names = [host, host.partition(".")[0], os.environ.get("SUDO_USER", "")]
    with contextlib.suppress(OSError, KeyError, ImportError):  # no such user; Windows has no pwd
        names.append(getpass.getuser())
    for name in names:
        if len(name) > 2 and name != "root":  # a name such as "pi" is in too many texts to be told from a word
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "***", text)
    return text


# ------------------------------------------------------------------------------------------------- text out of bytes

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
          codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # fmt: skip
_LATIN = re.compile(rb"[\t\n\r -~]{100}")  # not in UTF-16
_TWO = "{} is UTF-16 in one part only, as PowerShell's > and >> write it; write each part to a file of its own"
# How a file begins that a download left in place of another
WEB_PAGE = r"\s*<(!doctype html|html|head|script)\b"
GIT_LFS = "version https://git-lfs"
_LOST = {  # what it is, and what to do
    re.compile(WEB_PAGE, re.IGNORECASE): "a web page; download the file itself",
    re.compile(GIT_LFS): "a pointer of Git LFS, the file itself was not downloaded; git lfs pull",
}


def decoded(content: bytes, name: str, *, whole: bool = True) -> str:
    """UTF-8, or UTF-16 as PowerShell's ``>`` and editors of Windows write it, without a mark of the byte order.

    Of a file that need not be ``whole``, what stands before the character in which it was cut off. Raises
    PhibenchError (exit 2) for anything else, and for what a download left in place of a file.
    """
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or _unmarked(content[:4096])
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(content[len(mark) :]).rstrip("\0")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start + len(mark)) + 1
        wrong = f"{name}, line {line}: this is not {encoding.upper()} text; save the file as UTF-8"
        raise PhibenchError(_TWO.format(name) if encoding == "utf-8" and b"\0" in content else wrong) from None
    if whole and decoder.getstate()[0]:
        raise PhibenchError(f"{name} is cut off in the middle of a character; save it again")
    if "\0" in text or (encoding != "utf-8" and _LATIN.search(content)):
        raise PhibenchError(_TWO.format(name))
    if lost := next((what for start, what in _LOST.items() if start.match(text)), None):
        raise PhibenchError(f"{name} is {lost}")
    return text


def _unmarked(sample: bytes) -> str:
    """Latin letters in UTF-16 have a NUL in every second byte."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if max(even, odd) > len(sample) // 4 > 8 * min(even, odd):
        return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8"
