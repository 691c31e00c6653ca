"""The doctor's report: findings and the machine, in Markdown, for a bug report."""

from __future__ import annotations

from phibench.core.nouns import Conditions, Machine
from phibench.core.text import plain
from phibench.machine.doctor import findings, unchecked
from phibench.show import machine as show_machine


def report(machine: Machine, conditions: Conditions, software: dict[str, str]) -> str:
    """Markdown to paste into a bug report; no host, user or folder name is in any of its parts."""
    found = findings(machine, conditions)
    lines = ["# phibench doctor", "", "## Findings", ""]
    lines += [f"- **{f.severity}: {plain(f.title)}.** {plain(f.evidence)}. *{plain(f.remedy)}*" for f in found]
    lines += [] if found else ["Nothing wrong found."]
    if rest := unchecked(machine):
        lines += ["", f"Not told by this system, so not checked: {', '.join(rest)}."]
    lines += ["", "## Machine", "", "```text", show_machine.text(machine, 100).rstrip(), "```"]
    for title, pairs in (("Conditions now", conditions.texts()), ("Software", software)):
        lines += ["", f"## {title}", "", "```text", *(f"{k:<24}{plain(v)}" for k, v in pairs.items()), "```"]
    return "\n".join(lines) + "\n"
