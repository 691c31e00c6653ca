"""What is different since the same question was last answered here, and which change made it so.

A change is the reason where undoing it alone brings the old pick back: the runs of then, the free memory of then, and
so on, with everything else as it is now. Versions of phibench cannot be undone; they are named where nothing else
explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from phibench.advise.ranking import GRID
from phibench.core import units
from phibench.core.nouns import Answer, AnswerRow, Changed, Machine, Run, UsedRun, Verdict, WhyChanged

_SHOWN = ("decode_tps", "ttft_s")
_NAMED = 2  # setups of new runs

Pick = Callable[[Machine, Sequence[Run]], Verdict | None]  # asks the same question of another state


class _Change(NamedTuple):
    """``machine`` and ``runs``: as they are now, but for this."""

    why: WhyChanged
    machine: Machine
    runs: Sequence[Run]


def row_of(verdict: Verdict) -> AnswerRow:
    told = {m: msgspec.structs.replace(e, grounds=None) for m in _SHOWN if (e := verdict.estimates.get(m))}
    return AnswerRow(setup=verdict.setup, level=verdict.level, estimates=told)


def used(machine: Machine, runs: Sequence[Run]) -> tuple[UsedRun, ...]:
    """Those of this machine: no others teach anything about it."""
    return tuple(map(_key, _own(machine, runs)))


def changed(
    was: Answer, machine: Machine, runs: Sequence[Run], pick: Verdict, version: str, catalog: str, ask: Pick
) -> Changed | None:
    """None where the pick, its level and how fast it is are what they were."""
    old, new = was.rows[0], row_of(pick)
    if (old.setup, old.level) == (new.setup, new.level) and not _is_faster_or_slower(old, new):
        return None
    differs = _changes(was, machine, runs)
    reasons = [one.why for one in differs if _brings_back(old, ask(one.machine, one.runs))]
    if not reasons:
        new_runs = (one.why for one in differs if one.why.kind == "runs")
        reasons = [*new_runs, *_not_undone(was, machine, runs, version, catalog)] or [one.why for one in differs]
    return Changed(since=was.at, before=old, after=new, reasons=tuple(reasons))


def _brings_back(old: AnswerRow, verdict: Verdict | None) -> bool:
    if verdict is None:
        return False
    then = row_of(verdict)
    return (then.setup, then.level) == (old.setup, old.level) and not _is_faster_or_slower(old, then)


def _is_faster_or_slower(old: AnswerRow, new: AnswerRow) -> bool:
    """Outside of what was expected, by more than what feels alike."""
    one, other = (row.estimates.get("decode_tps") for row in (old, new))
    if one is None or other is None or one.value <= 0:
        return False
    return not one.low <= other.value <= one.high and not 1 / GRID < other.value / one.value < GRID


def _changes(was: Answer, machine: Machine, runs: Sequence[Run]) -> list[_Change]:
    """What can be undone, one at a time."""
    own, replace = _own(machine, runs), msgspec.structs.replace
    new = [run for run in own if _key(run) not in was.runs]
    others = [run for run in runs if not any(run is one for one in new)]
    then, free = was.machine, {device.kind: device.free_bytes for device in was.machine.devices}
    now_free = {device.kind: device.free_bytes for device in machine.devices}
    with_free = tuple(replace(one, free_bytes=free.get(one.kind, one.free_bytes)) for one in machine.devices)
    with_rates = tuple(replace(one, free_bytes=now_free.get(one.kind, one.free_bytes)) for one in then.devices)
    found = [
        _Change(WhyChanged(kind="runs", text=_told(new)), machine, others),
        _Change(
            WhyChanged(kind="memory", text=_free("memory", then.limits.free_bytes, machine.limits.free_bytes)),
            replace(machine, limits=then.limits, devices=with_free), runs,
        ),
        _Change(
            WhyChanged(kind="disk", text=_free("disk", _disk(then), _disk(machine))),
            replace(machine, storage=then.storage), runs,
        ),
        _Change(
            WhyChanged(kind="engines", text="the self-tests of the engines have other results now"),
            replace(machine, selftests=then.selftests, backends=then.backends), runs,
        ),
        _Change(
            WhyChanged(kind="speed", text=f"the probe has other figures for this machine{_read(then, machine)}"),
            replace(
                then, limits=machine.limits, storage=machine.storage, selftests=machine.selftests,
                backends=machine.backends, devices=with_rates,
            ), runs,
        ),
    ]  # fmt: skip
    return [one for one in found if one.machine != machine or len(one.runs) != len(runs)]


def _not_undone(was: Answer, machine: Machine, runs: Sequence[Run], version: str, catalog: str) -> list[WhyChanged]:
    gone = len(set(was.runs) - set(used(machine, runs)))
    found = []
    if gone:
        text = f"{gone} run{'s' if gone > 1 else ''} that it rested on {'are' if gone > 1 else 'is'} gone or continued"
        found.append(WhyChanged(kind="runs_gone", text=text))
    if version != was.phibench:
        found.append(WhyChanged(kind="version", text=f"phibench {was.phibench} -> {version}"))
    elif catalog != was.catalog:
        found.append(WhyChanged(kind="catalog", text="the catalog of phibench has changed"))
    return found


def _own(machine: Machine, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.machine.identity == machine.identity and not run.example]


def _key(run: Run) -> UsedRun:
    return UsedRun(id=run.id, suite=run.suite.name, results=len(run.results))


def _told(new: Sequence[Run]) -> str:
    setups = list(dict.fromkeys(str(result.setup) for run in new for result in run.results))
    more = f" and {len(setups) - _NAMED} more" if len(setups) > _NAMED else ""
    of = f" of {', '.join(setups[:_NAMED])}{more}" if setups else ""
    return f"{len(new)} new run{'s' if len(new) != 1 else ''}{of}"


def _free(what: str, then: int | None, now: int | None) -> str:
    was, is_ = ("not known" if size is None else units.gib(size) for size in (then, now))
    return f"free {what} was {was} and is {is_}"


def _disk(machine: Machine) -> int | None:
    return machine.storage.free_bytes if machine.storage else None


def _read(then: Machine, now: Machine) -> str:
    was, is_ = (one.device("cpu") for one in (then, now))
    if not (was and is_ and was.read_bytes_s and is_.read_bytes_s) or was.read_bytes_s == is_.read_bytes_s:
        return ""
    return f": it reads {units.gb(is_.read_bytes_s)}/s, it was {units.gb(was.read_bytes_s)}/s"
