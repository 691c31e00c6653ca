"""The doctor's report: findings and the machine, in Markdown, for a bug report."""

from __future__ import annotations

import re
from collections.abc import Iterator

from phibench.analysis import trust
from phibench.core import extras
from phibench.core.nouns import Conditions, Machine, SelfTest
from phibench.core.text import plain, scrub, wrap
from phibench.machine.doctor import findings, unchecked
from phibench.show import machine as show_machine

_WIDTH = 90  # of a block on GitHub, without a bar to scroll


def report(machine: Machine, conditions: Conditions, software: dict[str, str]) -> str:
    """Markdown to paste into a bug report; no host, user or home folder is named in any of its parts."""
    found = findings(machine, conditions)
    lines = ["# phibench doctor", "", "## Findings", ""]
    lines += [
        f"- **{f.severity}: {_prose(f.title)}.** {_prose(f.evidence)}." + (f" *{_prose(f.remedy)}*" if f.remedy else "")
        for f in found
    ]
    lines += [] if found else ["Nothing wrong found."]
    if rest := unchecked(machine):
        lines += ["", f"Not reported by this system, so not checked: {', '.join(rest)}."]
    tests = {trust.place(one): _selftest(one) for one in machine.selftests}
    lines += _block("Software", _pairs({**software, "installed by": extras.way(), "architecture": machine.arch}))
    lines += _block("Machine", show_machine.text(machine, _WIDTH, scrub).splitlines())
    lines += _block("Self-tests of engines", _pairs(tests) if tests else ["no engine was tested"])
    lines += _block("Conditions now", _pairs(conditions.texts()))
    return "\n".join(lines) + "\n"


def _selftest(one: SelfTest) -> str:
    if said := trust.sentence(one):
        return said
    apart = "" if one.kl_max is None else f", at most {one.kl_max:.2g} nat from the right answer"
    return f"passed{apart}"


def _pairs(pairs: dict[str, str]) -> Iterator[str]:
    wide = max(map(len, pairs), default=0) + 2
    for name, value in pairs.items():
        first, *more = wrap(scrub(value), _WIDTH - wide) or [""]
        yield f"{name:<{wide}}{first}"
        yield from (f"{'':<{wide}}{line.strip()}" for line in more)


def _block(title: str, lines: Iterator[str] | list[str]) -> list[str]:
    """Text as it is; nothing in it can end the fence, which stands alone on its line."""
    return ["", f"## {title}", "", "```text", *(re.sub(r"^(\s*)```", r"\1'''", line) for line in lines), "```"]


def _prose(text: str) -> str:
    """A sentence that GitHub shows as it is: no emphasis, tag, formula, mention or link to an issue comes of it."""
    shown = re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", plain(scrub(text))).replace("$", "<span>$</span>")
    return re.sub(r"([@#])", r"\1<!-- -->", shown)
