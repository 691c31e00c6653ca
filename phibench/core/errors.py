"""What goes wrong for a user, and the exit codes that scripts hang on. Imports next to nothing: the CLI starts here."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_CHARS = 100  # of a name that is quoted
FAILED, BAD_INPUT, NOTHING_FITS, REGRESSION, TOO_BUSY, INTERRUPTED = 1, 2, 3, 4, 5, 130


class PhibenchError(Exception):
    """What the user did or has that stops us: one line that names the thing and the remedy.

    Only the CLI catches it, prints the line and leaves with ``exit_code``; anything else is a bug.
    """

    def __init__(self, message: str, exit_code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class OutOfMemoryError(PhibenchError):
    """An engine said that it got no memory."""


class UnavailableError(PhibenchError):
    """What an engine needs is not here, a package, a device, or a kernel for that device: no fault of the engine."""


class FallbackError(UnavailableError):
    """An engine runs, or would run, elsewhere than was asked for: never a measurement of that device."""

    def __init__(self, why: str) -> None:
        super().__init__(f"fallback: {why}", FAILED)


class NotMeasurableError(PhibenchError):
    """This machine cannot show what a suite asks for; ``why`` with the remedy. No failure beside other figures."""

    def __init__(self, why: str) -> None:
        super().__init__(f"unavailable: {why}")
        self.why = why


class WrongNumbersError(PhibenchError):
    """An engine computed what cannot be right."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelled one most likely means, or None."""
    import difflib

    folded = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def unknown(kind: str, name: str, known: Iterable[str], remedy: str) -> PhibenchError:
    """The error for a name that does not exist: what, nearest right name, remedy."""
    name = name if len(name) <= _MOST_CHARS else f"{name[:_MOST_CHARS]}..."
    guess = nearest(name, known)
    hint = f"; did you mean '{guess}'?" if guess else ";"
    return PhibenchError(f"unknown {kind} '{name}'{hint} {remedy}")
