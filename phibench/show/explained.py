"""One setup explained: what is expected of it, what each rule says, where it stands and why, what would change that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from phibench.advise import explain
from phibench.advise.asked_for import AskedFor
from phibench.advise.case import Answer, No, Rule
from phibench.advise.explain import ROWS_ALONE
from phibench.advise.moves import Change
from phibench.advise.rules import RULES
from phibench.core import amounts, files
from phibench.core.metrics import METRICS
from phibench.core.nouns import Goal, Machine, Setup, Verdict
from phibench.core.text import wrap
from phibench.show import advice_document, advice_notes

NOTHING = "nothing on this machine changes that"
_LEFT_OUT = "left out by -m, -q or -b"
NOT_KNOWN = "what is not known about it must be known first"
NOT_TWO = "no one change or two changes together are enough"


class Told(NamedTuple):
    """``changes``: the smallest of each kind that is enough alone, or of two kinds; ``nearest``: where nothing fits."""

    machine: Machine
    goal: Goal
    asked: AskedFor
    changes: Sequence[Change]
    nearest: tuple[Setup, Change] | None = None
    calibrate: str = ""  # what to type to know its speeds, where they are only predicted
    lacks: bool = False  # nothing but amounts
    narrowed: bool = False  # whether -m, -q or -b left out some


def explained(told: Told, output: str, width: int | None = None) -> str:
    """Everything that is known of the setup, for people or as JSON."""
    if output == "json":
        return _document(_explained(told))
    asked, verdict = told.asked, told.asked.weighed.verdict
    why = [f"why: {_why(told)}"] if verdict.verdict == "yes" else []
    lines = [_headline(told), *why, *_instead(told), "", "Expected"]
    for metric, estimate in verdict.estimates.items():
        row = METRICS[metric]
        unit = f" {row.unit}" if row.unit not in ("s", "B") else ""
        text = amounts.shown(metric, estimate)
        bare = text.removesuffix(" assumed")
        lines.append(f"- {row.title} {bare}{unit}{', assumed' if bare != text else ''}: {estimate.because}")
    lines += ["", "Rules"]
    said = {_title(rule): answer for rule in RULES if (answer := asked.weighed.answers.get(rule))}
    lines += [f"- {title}: {_answer(answer)}, {answer}" for title, answer in said.items()]
    silent = [_title(rule) for rule in RULES if rule in asked.weighed.answers and _title(rule) not in said]
    lines += [f"- no objection: {', '.join(silent)}"] if silent else []
    unasked = [_title(rule) for rule in RULES if rule not in asked.weighed.answers]
    lines += [f"- not asked, since it cannot run: {', '.join(unasked)}"] if unasked else []
    lines += ["", *_order(told)]
    lines += ["", *_would_change(told)] if verdict.verdict != "yes" else []
    return _wrapped(lines, width)


def why_not(told: Told, output: str, width: int | None = None) -> str:
    """The reasons, and what would change the answer."""
    verdict = told.asked.weighed.verdict
    if output == "json":
        change = told.changes[0] if told.changes else None
        return _document(
            {
                "setup": str(told.asked.setup),
                "verdict": verdict.verdict,
                "change": advice_document.changed(change),
                "reasons": _reasons(told),
                "left": str(left.setup) if (left := _left(told)) else None,
            }
        )
    lines = [_headline(told), *_instead(told)]
    if verdict.verdict == "yes":
        why = [] if _is_left_out(told) else [f"why: {_beside_the_pick(told)}"]
        return _wrapped([*lines, *why, *_nearest(told)], width)
    return _wrapped([*lines, *(f"- {reason}" for reason in _reasons(told)), *_would_change(told)], width)


def _reasons(told: Told) -> list[str]:
    verdict = told.asked.weighed.verdict
    against = [*verdict.objections, *(str(reason) for reason in verdict.unknowns)]
    return against or [_beside_the_pick(told)]


def _headline(told: Told) -> str:
    asked, goal = told.asked, told.goal
    left_out = _LEFT_OUT if told.narrowed else "only tried when it is asked for"
    of = f"place {asked.place} of {len(asked.verdicts)}" if asked.place else left_out
    return f"{asked.setup} for {goal.id} on {told.machine.name}: {asked.weighed.verdict.level}, {of}"


def _is_left_out(told: Told) -> bool:
    return told.narrowed and not told.asked.place


def _left(told: Told) -> Verdict | None:
    """Of a setup that -q or -b leaves out what is left of its variant: somebody typed a change behind the question."""
    asked = told.asked
    of_it = (verdict for verdict in asked.verdicts if verdict.setup.variant == asked.setup.variant)
    return next(of_it, None) if _is_left_out(told) else None


def _instead(told: Told) -> list[str]:
    left, verdicts = _left(told), told.asked.verdicts
    if left is None:
        return []
    return [f"still left: {left.setup}: {left.level}, place {verdicts.index(left) + 1} of {len(verdicts)}"]


def _why(told: Told) -> str:
    return _said(told, told.asked.above)


def _beside_the_pick(told: Told) -> str:
    """Whoever asks why it is not the answer has the first row before the eyes, not the one directly above."""
    asked = told.asked
    return _said(told, asked.verdicts[0] if asked.above else None)


def _said(told: Told, above: Verdict | None) -> str:
    asked = told.asked
    if _is_left_out(told):
        return _LEFT_OUT
    reasons = ROWS_ALONE._replace(whole_family=not told.narrowed)
    return explain.why(told.goal, asked.weighed.verdict, above, asked.verdicts, reasons)


def _would_change(told: Told) -> list[str]:
    if _is_left_out(told) and not told.changes:
        lines = []
    elif not told.changes:
        holes = told.asked.weighed.verdict.holes
        lines = [NOT_KNOWN if holes else NOT_TWO if told.lacks else NOTHING]
    else:
        lines = ["What would make it a yes:" if len(told.changes) == 1 else "Each of these would make it a yes:"]
        lines += [f"- {advice_notes.changed(told.asked.setup, change)}" for change in told.changes]
    if told.calibrate:
        lines.append(f"its speeds are predicted, a measurement may say otherwise: {told.calibrate}")
    return [*lines, *_nearest(told)]


def _nearest(told: Told) -> list[str]:
    return [advice_notes.nearest(*told.nearest)] if told.nearest else []


def _order(told: Told) -> list[str]:
    asked = told.asked
    if asked.above is None:
        return ["Order", "- the first of all"]
    parts = explain.order(told.goal, asked.above, asked.weighed.verdict)
    lines = [f"Order, compared with the one directly above: {asked.above.setup}"]
    lines += [f"- {part.words}: both {part.mine}" for part in parts[:-1] if part.mine == part.above]
    lines += [f"- {part.words}: {part.mine}; above: {part.above}" for part in parts[:-1] if part.mine != part.above]
    return [*lines, f"- this decides, {parts[-1].words}: {parts[-1].mine}; above: {parts[-1].above}"]


def _explained(told: Told) -> dict[str, Any]:
    asked, verdict = told.asked, told.asked.weighed.verdict
    parts = explain.order(told.goal, asked.above, verdict) if asked.above else []
    keys = [{**part._asdict(), "decides": part is parts[-1]} for part in parts]
    return {
        "setup": str(asked.setup),
        "verdict": verdict.verdict,
        "level": verdict.level,
        "why": _why(told),
        "place": asked.place,
        "of": len(asked.verdicts),
        "estimates": {metric: advice_document.estimated(estimate) for metric, estimate in verdict.estimates.items()},
        "rules": [_rule(rule, asked.weighed.answers) for rule in RULES],
        "order": {"above": str(asked.above.setup) if asked.above else None, "keys": keys},
        "change": advice_document.changed(told.changes[0]) if told.changes else None,
    }


def _rule(rule: Rule, answers: dict[Rule, Answer]) -> dict[str, Any]:
    """``answer`` is null of a rule that was not asked: one before it says that nothing can run."""
    answer = answers.get(rule)
    said = _answer(answer) if answer else "nothing" if rule in answers else None
    return {"rule": _title(rule), "answer": said, "text": str(answer) if answer else None}


def _answer(answer: Answer) -> str:
    return "no" if isinstance(answer, No) else "unknown"


def _title(rule: Rule) -> str:
    return rule.__name__.replace("_", " ")


def _document(found: dict[str, Any]) -> str:
    return files.json_text(found) + "\n"


def _wrapped(lines: Sequence[str], width: int | None) -> str:
    return "\n".join(part for line in lines for part in (wrap(line, width) if line else [""])) + "\n"
