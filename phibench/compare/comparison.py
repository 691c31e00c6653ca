"""Two runs, machines, versions or setups: figure by figure, is the second faster, slower, or can nobody tell?

What may be compared and what makes a pair says ``pairing``; the verdict is that of a run's winners (``winners.beats``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from phibench.analysis import winners
from phibench.compare.pairing import Like, Pair, Seen, apart, matches, of_software, pair_up, seen_of
from phibench.compare.selection import Selection
from phibench.core import stats
from phibench.core.errors import FAILED, REGRESSION, PhibenchError
from phibench.core.metrics import METRICS
from phibench.core.nouns import Measured, Noun, Run

Row = dict[str, Any]
_WORDS = {"tok/s": ("faster", "slower"), "s": ("faster", "slower"), "B": ("smaller", "larger"),
          "J/tok": ("cheaper", "dearer")}  # fmt: skip
_TURNS = f"measure A B, then B A, until each has {stats.MIN_PAIRS} launches"


class Comparison(Noun, frozen=True, kw_only=True):
    """``notes``: what there is to say of all rows, in words."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def compare(a: Selection, b: Selection) -> Comparison:
    """A row for each figure that both sides have. Raises PhibenchError (exit 1) where there is none."""
    first, second = seen_of(a), seen_of(b)
    common = matches(first, second)
    left = _left_out((a, b), (first, second), common)
    known = set(common)
    both = [(x, y) for x, y in common if x.metric != "ttft_s" or (_prefill(x), _prefill(y)) not in known]
    if not both:
        raise PhibenchError(f"'{a.text}' and '{b.text}' have no figure in common; {'; '.join(left)}", FAILED)
    alone = {"alone": of_software} if a.setup else {}
    pairs = [[] if _imported(x, y) else pair_up(first[x], second[y], **alone) for x, y in both]
    rows = tuple(_row((x, y), first[x], second[y], made) for (x, y), made in zip(both, pairs, strict=True))
    used = _runs(first[x] for x, _ in both), _runs(second[y] for _, y in both)
    return Comparison(rows=rows, notes=(*_advice(rows, pairs), *left, *_around((a, b), used, any(pairs))))


def exit_code(rows: Iterable[Row], most: float) -> int:
    """4 when B is worse by more than ``most`` of A in any figure, 1 when nothing could be judged, else 0."""
    judged = [row for row in rows if row["verdict"] != "unknown"]
    if not judged:
        return FAILED
    return REGRESSION if any(row["verdict"] == "worse" and abs(row["change"]) > most for row in judged) else 0


def share(text: str) -> float:
    """``5%`` or ``0.05``. Raises PhibenchError for anything else."""
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*(%?)\s*", text)
    value = float(found[1]) / (100 if found[2] else 1) if found else math.inf
    if value >= 1:
        raise PhibenchError(f"--fail-on-regression takes a share such as 5% or 0.05, not '{text}'")
    return value


# ---------------------------------------------------------------------------------------------------- verdicts


def _prefill(like: Like) -> Like:
    """TTFT and the rate of prefill are one figure."""
    return msgspec.structs.replace(like, metric="prefill_tps")


def _imported(*likes: Like) -> bool:
    """Nobody knows when and how each of its launches was taken: no pairs, so no verdict."""
    return any(like.imported for like in likes)


def _row(likes: tuple[Like, Like], a: Sequence[Seen], b: Sequence[Seen], pairs: Sequence[Pair]) -> Row:
    like, metric = likes[0], METRICS[likes[0].metric]
    first, second = stats.median([seen.value for seen in a]), stats.median([seen.value for seen in b])
    row: Row = {
        "setup": str(like.setup) if like.setup else None,
        "test": str(like.test) if like.test else None,
        "weights": like.weights,
        "layers": like.layers,
        "suite": " / ".join(dict.fromkeys(one.suite for one in likes)),
        "short": like.short,
        "imported": _imported(*likes),
        "metric": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "better": metric.better,
        "a": first,
        "b": second,
        "launches_a": len(a),
        "launches_b": len(b),
        "pairs": len(pairs),
        **_judged(like.metric, [(one.value, other.value) for one, other in pairs], second / first),
    }
    return {**row, "says": says(row)}


def _judged(name: str, pairs: Sequence[tuple[float, float]], plain: float) -> Row:
    """``change``: of B against A, the median of the pairs; of all launches (``plain``) where the pairs are too few."""
    if len(pairs) < stats.MIN_PAIRS:
        return {"change": plain - 1, "change_low": None, "change_high": None, "p": None, "verdict": "unknown"}
    a, b = zip(*pairs, strict=True)
    low, high = stats.paired_interval(b, a)
    change = stats.median([after / before for before, after in pairs]) - 1
    better = (change > 0) == (METRICS[name].better == "higher")
    beaten = winners.beats(name, list(zip(b, a, strict=True)) if better else pairs)
    verdict = ("better" if better else "worse") if beaten else "same"
    return {"change": change, "change_low": low - 1, "change_high": high - 1, "p": stats.paired_p(b, a),
            "verdict": verdict}  # fmt: skip


def says(row: Mapping[str, Any], *, short: bool = False) -> str:
    """``faster 12% (10..14%)``; every percentage is of A's figure."""
    if row["imported"]:
        return f"imported: no verdict ({_percent(row['change'], '+')})"
    if row["verdict"] == "unknown":
        turns = row["pairs"] > max(1, min(row["launches_a"], row["launches_b"]) // 2)
        why = f"{row['pairs']} of {stats.MIN_PAIRS} pairs" if turns else "not taken in turns"
        return f"{why}: no verdict ({_percent(row['change'], '+')})"
    ends = sorted((abs(row["change_low"]), abs(row["change_high"])))
    if row["verdict"] == "same":
        return f"no difference seen ({'' if short else 'could be '}up to {_percent(ends[1])})"
    word = _WORDS[row["unit"]][row["verdict"] == "worse"]
    return f"{word} {_percent(abs(row['change']))} ({_percent(ends[0])[:-1]}..{_percent(ends[1])})"


def _percent(part: float, sign: str = "") -> str:
    percent = 100 * part
    return f"{percent:{sign}.{2 if abs(percent) < 0.995 else 1 if abs(percent) < 9.95 else 0}f}%"


# ------------------------------------------------------------------------------------------------------- notes


def _advice(rows: Sequence[Row], pairs: Sequence[Sequence[Pair]]) -> list[str]:
    found = []
    if any(row["imported"] for row in rows):
        found.append("nobody saw whether imported figures took turns: the ratio of medians is shown, and may be noise")
    if any(row["verdict"] == "unknown" and not row["imported"] for row in rows):
        found.append(f"a verdict takes {stats.MIN_PAIRS} pairs: {_TURNS}")
    turns = [made for made in pairs if len(made) >= stats.MIN_PAIRS and _on_one_machine(made)]
    if any(len({one.when < other.when for one, other in made}) == 1 for made in turns):
        found.append(f"the same side went first in every pair, so a steady drift looks like a difference: {_TURNS}")
    return found


def _on_one_machine(pairs: Sequence[Pair]) -> bool:
    return all(one.run.machine.identity == other.run.machine.identity for one, other in pairs)


def _left_out(
    sides: tuple[Selection, Selection],
    seen: tuple[Mapping[Like, object], Mapping[Like, object]],
    common: Sequence[tuple[Like, Like]],
) -> list[str]:
    """What only one side has, and what keeps it apart from what the other has of that test."""
    tests: dict[tuple[str, str], dict[str, None]] = {}
    for place, side in enumerate(sides):
        mine, others = seen[place], seen[1 - place]
        for like in mine.keys() - {pair[place] for pair in common}:
            why = next(filter(None, (apart(like, other) for other in others)), f"only {side.text} has it")
            test = str(like.test) if like.test else METRICS[like.metric].title
            tests.setdefault((why, f" of {like.setup}" if like.setup else ""), {})[test] = None
    return [f"left out, {why}: {', '.join(sorted(names))}{whose}" for (why, whose), names in sorted(tests.items())]


def _runs(seen: Iterable[Sequence[Seen]]) -> list[Run]:
    return list({(one.run.machine.slug, one.run.id): one.run for launches in seen for one in launches}.values())


def _around(sides: Sequence[Selection], used: Sequence[Collection[Run]], paired: bool) -> list[str]:
    """Machines, software and doubts of the runs that were used."""
    found = []
    here, there = ({run.machine.identity for run in runs} for runs in used)
    if not here & there:
        pairs = "the n-th launches are paired, so noise that both suffered stays" if paired else "nothing is paired"
        found.append(f"on different machines {pairs}")
    names = sorted({name for runs in used for run in runs for name in run.software})
    versions = {name: [_versions(runs, name) for runs in used] for name in names}
    if said := [f"{name} {one} / {other}" for name, (one, other) in versions.items() if one != other]:
        found.append(f"software differs: {', '.join(said)}")
    threads = [sorted({r.threads for run in runs for r in run.results if isinstance(r, Measured)}) for runs in used]
    if threads[0] != threads[1]:
        one, other = (" and ".join(map(str, counts)) for counts in threads)
        found.append(f"threads differ: {one} / {other}")
    for side, runs in zip(sides, used, strict=True):
        reasons = list(dict.fromkeys(line for run in runs for line in run.warnings))
        if reasons:
            more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            count = sum(bool(run.warnings) for run in runs)
            found.append(f"doubtful: {count} of {len(runs)} runs of {side.text}: {reasons[0]}{more}")
    return found


def _versions(runs: Iterable[Run], name: str) -> str:
    return " and ".join(sorted({run.software.get(name, "none") for run in runs}))
