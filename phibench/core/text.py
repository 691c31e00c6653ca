"""Text that people read: numbers with the digits that matter, lines of a width, nothing that steers a terminal."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shutil

from phibench.core import folders

PIPE_WIDTH = 120  # columns when the output is no terminal
# A home folder, of anybody, on any system
_HOMES = re.compile(r"(?:[A-Za-z]:|/mnt/[a-z])?[/\\]+(?:home|Users)[/\\]+[^\s/\\:;,'\"()]+")


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
