"""What every answer of ``recommend`` shares: its form, and what is said where there is none. ``--help`` imports it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from phibench.cli import options
from phibench.core.errors import NOTHING_FITS, TOO_BUSY, PhibenchError

if TYPE_CHECKING:
    from phibench.core.nouns import Machine, Verdict


class Shape(NamedTuple):
    """Of what is printed."""

    context: int
    top: int | None
    places: bool
    output: str
    out: str | None
    run: str | None = None


def nothing_to_try(place: Machine) -> PhibenchError:
    why = "nobody publishes such a build for any backend; --any-build shows all"
    return PhibenchError(why if place.devices else f"{place.name} has no device to run on", NOTHING_FITS)


def say_why(
    code: int, place: Machine, verdicts: Sequence[Verdict], advise: Callable[[Machine], Sequence[Verdict]]
) -> None:
    """``advise``: the same question about another machine."""
    from phibench.advise.doubted import at_the_ends
    from phibench.core.text import wrap
    from phibench.probe import busy
    from phibench.show import busy as show_busy

    if code == NOTHING_FITS:
        amounts = any(not verdict.hard for verdict in verdicts)
        ways = "try what the reasons name: a shorter --context, looser limits, or more memory"
        options.note(f"nothing fits; {ways if amounts else 'no amount of memory or time would change that'}")
    elif code == TOO_BUSY:
        ends = at_the_ends(place, advise)
        for line in wrap(show_busy.nothing_can_be_said(place, verdicts, ends, busy.look(), "recommend")):
            options.note(line)
