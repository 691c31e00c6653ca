"""The lines that run a Phi, as text: to copy from a terminal, or as a section of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from phibench.core import shells
from phibench.core.nouns import Howto, Line
from phibench.show.tables import markdown_text


def text(howtos: Sequence[Howto]) -> str:
    """Nothing but what can be pasted: a comment with the name above each tool's lines, where there are several.

    What is typed at a tool's own prompt is a comment too, made of words that harm no shell that takes no comments.
    """
    parts = []
    for howto in howtos:
        lines = [f"# {howto.title}"] if len(howtos) > 1 else []
        parts.append("\n".join([*lines, *(_line(line, howto) for line in howto.lines)]))
    return "\n\n".join(parts) + "\n"


def _line(line: Line, howto: Howto) -> str:
    if line.typed:
        return f"# then type: {' '.join(line.words)}"
    return shells.command(line.words, howto.system)


def markdown(howtos: Sequence[Howto]) -> str:
    """A section, "Run it": for each tool its lines, then what to know of them."""
    parts = ["## Run it"]
    for howto in howtos:
        shell = "powershell" if howto.system == shells.POWERSHELL else "sh"
        parts.append(f"### {markdown_text(howto.title)}")
        parts.append("\n".join([f"```{shell}", *(_line(line, howto) for line in howto.lines), "```"]))
        notes = [*filter(None, [howto.misses]), *howto.notes]
        checked = f"flags as in the help of [{howto.help.version}]({howto.help.address})"
        parts.append("\n".join(f"- {note}" for note in [*map(markdown_text, notes), checked]))
    return "\n\n".join(parts) + "\n"


def to_json(howtos: Sequence[Howto]) -> list[dict[str, Any]]:
    """One for each tool: its lines as text and as words, which are typed at its own prompt, and its notes."""
    return [
        {
            **msgspec.to_builtins(msgspec.structs.replace(howto, lines=())),
            "file": howto.file,
            "misses": howto.misses,
            "lines": [
                {"text": " ".join(line.words) if line.typed else _line(line, howto), "words": list(line.words),
                 "typed": line.typed}
                for line in howto.lines
            ],
            "notes": list(howto.notes),
        }
        for howto in howtos
    ]  # fmt: skip
