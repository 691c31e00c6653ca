"""Lines to copy: whatever the words are, the shell gives exactly them to the program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench.core import shells
from phibench.core.errors import PhibenchError

CHARS = st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp", "Zs"), include_characters=" ")
WORDS = st.lists(st.text(CHARS, min_size=1), min_size=1, max_size=5)
SYSTEMS = ("linux", "macos", "windows")
# As PowerShell reads a command of ours: a word between quotes of one kind, or one without any.
_WORD = re.compile(r"\"([^\"`$]*)\"|'((?:[^'’‘‚‛]|['’‘‚‛]{2})*)'|([A-Za-z0-9_./:=+\\-]+)")


def read_by_powershell(line: str) -> list[str]:
    line = line.removeprefix("& ")
    found, at = [], 0
    while at < len(line):
        word = _WORD.match(line, at)
        assert word, line[at:]
        single = re.sub(r"(['’‘‚‛])\1", r"\1", word[2]) if word[2] is not None else None
        found.append(next(part for part in (word[1], single, word[3]) if part is not None))
        at = word.end() + 1
        assert line[word.end() : at] in (" ", ""), line
    return found


@given(WORDS)
def test_sh_reads_the_words_that_were_meant(words: list[str]) -> None:
    assert shlex.split(shells.command(words, "linux")) == words


@given(WORDS)
def test_powershell_reads_the_words_that_were_meant(words: list[str]) -> None:
    if any('"' in word for word in words):
        with pytest.raises(PhibenchError, match="PowerShell"):
            shells.command(words, "windows")
    else:
        assert read_by_powershell(shells.command(words, "windows")) == words


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_a_real_shell_does_so_too(shell: str) -> None:
    if sys.platform == "win32" or shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    words = [
        "a b",
        "it's",
        'a "b"',
        "$HOME",
        "`id`",
        "a\\b",
        "!!",
        "*",
        "{a,b}",
        "a;b|c&d",
        "#",
        "(x)",
        "ü",
        "a~b",
        "=a",
    ]
    line = shells.command(["printf", "%s\\n", *words], "linux")
    done = subprocess.run([shell, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words


@pytest.mark.parametrize(
    ("words", "system", "line"),
    [
        (["llama-cli", "-c", "8192"], "linux", "llama-cli -c 8192"),
        (["~/.pixi/bin/llama-cli", "a b"], "linux", '~/.pixi/bin/llama-cli "a b"'),
        (["phi\\Scripts\\python", "-c", "print('x')"], "windows", "phi\\Scripts\\python -c \"print('x')\""),
        (["C:\\Program Files\\x.exe", "a"], "windows", '& "C:\\Program Files\\x.exe" a'),
        (["x", "a,b"], "windows", 'x "a,b"'),
        (["x", "-DA=1", "-a.b", "cmake.args=-DA=on"], "windows", 'x -DA=1 "-a.b" cmake.args=-DA=on'),
        (["x", "=a"], "macos", 'x "=a"'),
        (["x", "$env:A"], "windows", "x '$env:A'"),
        (["x", "D:\\a folder\\"], "windows", "x 'D:\\a folder\\'"),
        (["x", "really!"], "macos", "x 'really!'"),
    ],
)
def test_lines_look_as_a_person_would_write_them(words: list[str], system: str, line: str) -> None:
    assert shells.command(words, system) == line


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("word", ["a\nb", "a\x1b[31mb", "a\u202eb", "\x00"])
def test_what_no_line_can_say_is_refused(word: str, system: str) -> None:
    with pytest.raises(PhibenchError, match="cannot stand"):
        shells.command(["x", word], system)
