"""``recommend --run``: the lines that run the pick, and nothing else on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phibench.cli import options
from phibench.core.errors import NOTHING_FITS, PhibenchError, unknown

if TYPE_CHECKING:
    from phibench.core.nouns import Goal, Machine, Verdict

ALL = "all"
_OUTPUTS = ("table", "md", "json")


def check(run: str | None, output: str, machines: str | None) -> None:
    """Whether it can be said in this form at all. Raises PhibenchError (exit 2)."""
    if run is None:
        return
    from phibench.catalog import tools

    if run != ALL and run not in tools.tools():
        raise unknown("tool", run, tools.tools(), f"there are {', '.join(tools.tools())}; --run alone shows all")
    if machines:
        raise PhibenchError("--run is for one machine: leave out --machines")
    if output not in _OUTPUTS:
        raise PhibenchError(f"--run writes lines: leave out -o, or take {' or '.join(_OUTPUTS[1:])}")


def tell(
    place: Machine, goal: Goal, verdicts: Sequence[Verdict], run: str, output: str, out: str | None, code: int
) -> int:
    """The lines for the first verdict, by the tool ``run`` or by all; a no has none (exit ``code``, else 3)."""
    from phibench.advise.howto import howtos
    from phibench.core import files
    from phibench.show import howto

    if goal.training:
        raise PhibenchError(f"--run shows how to talk to a Phi, and goal {goal.id} trains one: leave out --run")
    pick = verdicts[0]
    if pick.verdict == "no":
        why = "nothing fits, so there is nothing to run: without --run the reasons are listed"
        raise PhibenchError(why, code or NOTHING_FITS)
    every = howtos(place, goal, pick)
    found = [one for one in every if run in (ALL, one.tool)]
    if not found:
        who = "no tool that phibench knows runs" if run == ALL else f"{run} does not run"
        others = f"; {', '.join(one.tool for one in every)} would" if every else ""
        raise PhibenchError(f"{who} {pick.setup} on {place.os} as it is offered{others}", NOTHING_FITS)
    if output == "json":
        said = files.json_text(howto.to_json(found))
    else:
        said = howto.markdown(found) if output == "md" else howto.text(found)
    options.emit(said, out)
    for missed in dict.fromkeys(one.misses for one in found if one.misses):
        options.note(f"{', '.join(one.tool for one in found if one.misses == missed)}: {missed}")
    return code
