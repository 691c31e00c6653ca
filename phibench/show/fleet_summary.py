"""The answers of a list, and how many get which Phi: by build and place for programs, by variant for people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from phibench.core import amounts
from phibench.core.nouns import Machine, Verdict
from phibench.machine.listed import Listed
from phibench.show import tables


class Answer(NamedTuple):
    """A row of the list and the best verdict of its machine; None where the machine is not known."""

    listed: Listed
    verdict: Verdict | None

    @property
    def level(self) -> str:
        return self.verdict.level if self.verdict else "not known"

    @property
    def machine(self) -> Machine | None:
        return self.listed.described.machine if self.listed.described else None

    @property
    def has_pick(self) -> bool:
        """Whether something may fit."""
        return self.verdict is not None and self.verdict.verdict != "no"


def summary(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """How many machines get which pick at which level, the commonest first; what has none comes last."""
    groups: dict[tuple[str, ...], list[Answer]] = defaultdict(list)
    for one in answers:
        setup = one.verdict.setup if one.verdict and one.has_pick else None
        place = (
            (setup.variant, setup.quantization, setup.backend, setup.device.partition(":")[0]) if setup else ("",) * 4
        )
        groups[(*place, one.level)].append(one)
    order = sorted(groups.items(), key=lambda group: (not group[0][0], -len(group[1]), group[0]))
    return [_counted(key, found) for key, found in order]


def _counted(key: tuple[str, ...], found: Sequence[Answer]) -> dict[str, Any]:
    variant, quantization, backend, device, level = key
    speeds = sorted(e.value for one in found if one.verdict and (e := one.verdict.estimates.get("decode_tps")))
    known = variant and speeds
    return {
        "machines": len(found),
        "variant": variant or None,
        "quantization": quantization or None,
        "backend": backend or None,
        "device": device or None,
        "level": level,
        "decode_tps_least": speeds[0] if known else None,
        "decode_tps_most": speeds[-1] if known else None,
    }


def by_variant(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """As a person reads it: how many machines get which Phi, how many of them in comfort, in which builds."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in summary(answers):
        groups[row["variant"] or ("nothing fits" if row["level"] == "no" else "no answer")].append(row)
    found = [_of_variant(name, rows) for name, rows in groups.items()]
    return sorted(found, key=lambda row: (not row["builds"], -row["machines"]))


def _of_variant(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    builds: Counter[str] = Counter()
    for row in rows:
        if row["quantization"]:
            builds[row["quantization"]] += row["machines"]
    speeds = [row[end] for row in rows for end in ("decode_tps_least", "decode_tps_most") if row[end] is not None]
    comfortable = sum(row["machines"] for row in rows if row["level"] == "comfortable")
    return {
        "machines": sum(row["machines"] for row in rows),
        "variant": name,
        "comfortable": str(comfortable) if builds else None,
        "builds": builds.most_common(),
        "tok/s": _range(min(speeds), max(speeds)) if speeds else None,
    }


def _builds(row: tables.Record, most: int) -> str | None:
    told = [f"{count} {name}" for name, count in row["builds"]]
    more = [f"{len(told) - most} more"] if len(told) > most else []
    return ", ".join((*told[:most], *more)) or None


def _range(least: float | None, most: float | None) -> str | None:
    if least is None or most is None:
        return None
    first, last = (amounts.amount("decode_tps", value, 2) for value in (least, most))
    return first if first == last else f"{first}–{last}"


COLUMNS: tuple[tables.Column[tables.Record], ...] = (
    tables.column("machines", right=True),
    tables.column("variant", "Phi"),
    tables.column("comfortable", right=True),
    tables.column("tok/s", right=True),
    tables.Column(title="builds", cell=lambda row: _builds(row, 8), short=lambda row: _builds(row, 1), rank=1),
)
