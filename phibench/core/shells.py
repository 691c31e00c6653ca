"""A command as somebody types it: words, quoted for the shell of their system. Nothing is run here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from phibench.core.errors import PhibenchError

POWERSHELL = "windows"  # the system that has it; the others have sh, bash or zsh
# What no shell reads as anything but itself. PowerShell makes lists at a comma, splices at an @ and cuts -a.b and -a:b
# in two; zsh looks up =a; the others know a ~ at the front as the home, which is meant where a word begins so.
_PLAIN = re.compile(r"(?:~/)?[A-Za-z0-9_./:+-][A-Za-z0-9_./:=+-]*")
_PLAIN_WINDOWS = re.compile(r"(?!-[^.:]*[.:])[A-Za-z0-9_./:=+\\-]+")
# What is read between double quotes, too; the exclamation mark by bash and zsh where somebody types.
_READ = re.compile(r"[\"$`\\!]")
_READ_WINDOWS = re.compile(r"[$`“”„]")
_SINGLE = "'’‘‚‛"  # PowerShell takes each of them for a single quote


def command(words: Sequence[str], system: str) -> str:
    """One line for sh, bash and zsh, or for PowerShell where the system is Windows.

    Double quotes where they do: they mean the same in all of them. Raises PhibenchError for what no line can say: an
    end of a line; and for Windows a double quote, which PowerShell 5 does not hand on to a program.
    """
    quoted = [_quoted(word, system) for word in words]
    if system == POWERSHELL and quoted[0] != words[0]:
        quoted.insert(0, "&")  # a quoted word is a text there, not a command
    return " ".join(quoted)


def _quoted(word: str, system: str) -> str:
    windows = system == POWERSHELL
    if not word.isprintable() or (windows and '"' in word):
        raise PhibenchError(f"{word!r} cannot stand in a line for {'PowerShell' if windows else 'a shell'}")
    if (_PLAIN_WINDOWS if windows else _PLAIN).fullmatch(word):
        return word
    if not (_READ_WINDOWS if windows else _READ).search(word) and not (windows and word.endswith("\\")):
        return f'"{word}"'
    if windows:
        return "'" + "".join(char * 2 if char in _SINGLE else char for char in word) + "'"
    return "'" + word.replace("'", "'\"'\"'") + "'"
