"""What is to be said of energy beside its figures, and what an answer costs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from phibench import catalog
from phibench.analysis.energy import MOST_PAUSES, counted, joules_of, rest_w_of, work_windows
from phibench.core import stats, units
from phibench.core.metrics import metered
from phibench.core.nouns import Energy, Goal, Measured, Note, Row, Suite, Window, Workload

DRIFT = 0.10  # between the powers at rest before and after: more, and net figures are not to be trusted


TICKS = 0.01  # of a window that its counter's ticks leave open: less is not worth a word


PAUSES = 0.02  # of a window between tests, which its joules hold too


_ABOVE_LIMIT = 1.05  # times what a GPU's board may take: its counter, or the limit it tells, is not right


_ANSWER = "chat"  # the goal whose length of an answer is told


def notes(suite: Suite, measured: Sequence[Measured]) -> tuple[str, ...]:
    """What people are told of one test: method and scope of its figures, and what speaks against them."""
    found = _told(suite, measured)
    if not found:
        return ()
    return tuple(dict.fromkeys((*_method(found), *(line for result in measured for line in _doubts(result)))))


def sources(suite: Suite, measured: Sequence[Measured]) -> str | None:
    """What the figures of one test were read from, and how: ``RAPL package-0 (cpu_package, counter)``."""
    found = _told(suite, measured)
    return _named(counted(found[0].energy), " + ") if found else None


def _told(suite: Suite, measured: Sequence[Measured]) -> list[Window]:
    """Windows of work that there is anything to say of."""
    return (
        [window for result in measured for window, _ in work_windows(result)]
        if metered(suite.metrics, "energy")
        else []
    )


def _named(energy: Sequence[Energy], between: str) -> str:
    return between.join(f"{part.name} ({part.scope}, {part.method})" for part in energy)


def _method(windows: Sequence[Window]) -> Iterator[str]:
    first = counted(windows[0].energy)
    yield f"energy: {_named(first, ' + ')}"
    if others := windows[0].energy[len(first) :]:
        yield f"energy of another method is not added: {_named(others, ', ')}"
    known = [(w, joules) for w in windows if (joules := joules_of(w, {})) is not None]
    if known:
        watts = stats.median([joules / w.seconds for w, joules in known])
        yield f"power at work: {watts:.3g} W"


def _doubts(result: Measured) -> Iterator[str]:
    work = list(work_windows(result))
    busy = min((share for _, share in work), default=1.0)
    if busy < 1 - PAUSES:
        gone = ": too much for a figure" if busy < 1 - MOST_PAUSES else ", but counts"
        yield f"{1 - busy:.0%} of a window is not spent in tests{gone}"
    for part in (part for window, _ in work for part in window.energy):
        if part.note:
            yield f"{part.name}: {part.note}"
        watts = part.joules / part.seconds if part.joules is not None and part.seconds > 0 else 0.0
        if part.scope == "gpu_board" and part.limit_w and watts > _ABOVE_LIMIT * part.limit_w:
            yield f"{part.name}: {watts:.4g} W is above its limit of {part.limit_w:.4g} W: do not trust the figure"
        if part.tick_s and part.seconds > 0 and (error := 2 * part.tick_s / part.seconds) > TICKS:
            yield f"{part.name}: ticks every {units.duration(part.tick_s)}, an error of up to {error:.1%}"
    yield from _rest_notes(result, {part.note for window, _ in work for part in window.energy})


def _rest_notes(result: Measured, said: set[str]) -> Iterator[str]:
    """``said``: of the windows of work, so that it need not be said twice."""
    idle = [window for window in result.windows if window.kind == "idle"]
    if not idle:
        yield "no power at rest was measured, so there is no net figure"
        return
    for part in (part for window in idle for part in window.energy if part.note and part.note not in said):
        yield f"at rest, {part.name}: {part.note}"
    known = [(when, joules / window.seconds) for when, window in zip(("before", "after"), idle, strict=False)
             if (joules := joules_of(window, {})) is not None]  # fmt: skip
    if not known:
        return
    alone = ": only one rest is known" if len(known) == 1 else ""
    yield "power at rest: " + ", ".join(f"{watts:.3g} W {when}" for when, watts in known) + alone
    seen = [watts for _, watts in known]
    if max(seen) > min(seen) * (1 + DRIFT):
        yield f"the power at rest is unstable (more than {DRIFT:.0%} apart): do not trust the net figure"
    rest_w = rest_w_of(result) or {}
    if any((net := joules_of(window, rest_w)) is not None and net <= 0 for window, _ in work_windows(result)):
        yield "a window of work took no more than rest, so it has no net figure"


def answers(rows: Sequence[Row]) -> list[list[Note]]:
    """Of each row what to say of a whole answer: the prompt and the new tokens of the goal ``chat``, gross.

    Its prompt costs what one of the length nearest to it cost.
    """
    goal = catalog.goal(_ANSWER)
    prompts = [(row, cost) for row in rows if (cost := row.median("prefill_j_per_token")) is not None]
    prompts.sort(key=lambda known: abs(known[0].workload.prompt_tokens - goal.prompt_tokens), reverse=True)
    nearest = {_but_length(row): (row.workload, cost) for row, cost in prompts}  # the last stays
    said: list[list[Note]] = []
    for row in rows:
        each, prompt = row.median("decode_j_per_token"), nearest.get(_but_length(row))
        if each is None or prompt is None:
            said.append([])
        else:
            said.append([Note(kind="answer", text=_answer(goal, each, *prompt))])
    return said


def _but_length(row: Row) -> Hashable:
    """What a prompt and an answer share."""
    work = row.workload
    return row.run.id, row.setup, row.weights, row.layers, work.batch, work.depth, work.room


def _answer(goal: Goal, each: float, prompt: Workload, of_prompt: float) -> str:
    joules = goal.prompt_tokens * of_prompt + goal.new_tokens * each
    shown = f"{joules:.3g}" if joules < 1000 else f"{joules:,.0f}"
    return (
        f"an answer ({_ANSWER}: {goal.prompt_tokens} tokens of prompt, {goal.new_tokens} new) takes "
        f"{shown} J, a token of the prompt as in pp{prompt.prompt_tokens}; "
        f"1000 new tokens take {each * 1000 / 3600:.3g} Wh"
    )
