"""Text to numbers and back: sizes, token counts, repetitions as llama-bench writes them, setups."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from phibench.core.errors import PhibenchError
from phibench.core.nouns import Setup

_BYTES: dict[str, int] = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("ib", 1024), ("b", 1000), ("i", 1024))
}
_MAX_GRID = 1000  # values in one list; more is a slip of the pen


def tokens(text: str) -> int:
    """``8k`` is 8192, ``128k`` is 131072, ``10M`` is 10 x 2^20; a plain number is itself."""
    found = re.fullmatch(r"\s*(\d{1,15})\s*([km]?)\s*", text.lower())
    if not found:
        raise PhibenchError(f"'{text}' is not a number of tokens; write 4096 or 4k")
    return int(found[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20}[found[2]]


def size_bytes(text: str) -> int:
    """``16GiB`` is 16 x 2^30, ``16GB`` is 16 x 10^9; case does not matter."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)\s*", text.lower())
    if not found or found[2] not in _BYTES:
        raise PhibenchError(f"'{text}' is not a size; write 16GiB or 16GB")
    return round(float(found[1]) * _BYTES[found[2]])


def seconds(text: str, flag: str) -> float:
    """``30s``, ``2min``, ``1h``; a plain number is seconds. Raises PhibenchError (exit 2) for what is no time."""
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h)?\s*", text.lower())
    if found is None:
        raise PhibenchError(f"{flag} {text} is not a time; write 30s or 2min")
    return float(found[1]) * {"m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1)


def names(text: str, flag: str) -> list[str]:
    """What stands between commas; PhibenchError where nothing does."""
    found = [item.strip() for item in text.split(",") if item.strip()]
    if not found:
        raise PhibenchError(f"{flag} is empty; leave it out, or give a name")
    return found


def counts(text: str) -> tuple[int, ...]:
    """``512``, ``128,8k``, ``first-last`` , ``first-last+step``, ``first-last*factor`` as in llama-bench."""
    values: list[int] = []
    for item in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,15}k?)(?:-(\d{1,15}k?)(?:([+*])(\d{1,15}k?))?)?\s*", item.lower())
        if not found:
            raise PhibenchError(f"'{item.strip()}' is not a count; write 512 or 128,512 or 128-1024+128 or 128-2048*2")
        first = _thousands(found[1])
        last = _thousands(found[2]) if found[2] else first
        step = _thousands(found[4]) if found[4] else 1
        if last < first or step < 1 or (found[3] == "*" and (step < 2 or first < 1)):
            raise PhibenchError(f"'{item.strip()}' never ends or is empty; write first-last+step, first-last*factor")
        while first <= last:
            values.append(first)
            first = first * step if found[3] == "*" else first + step
            if len(values) > _MAX_GRID:
                raise PhibenchError(f"'{text}' has more than {_MAX_GRID} values")
    return tuple(dict.fromkeys(values))


def _thousands(text: str) -> int:
    """``8k`` is 8192."""
    return int(text.removesuffix("k")) * (1024 if text.endswith("k") else 1)


def setup(text: str) -> Setup:
    """``variant:quantization@backend/device?option=value&...``; names are not looked up here."""
    found = re.fullmatch(r"([^:@/?]+):([^:@/?]+)@([^:@/?]+)(?:/([^?@/]+))?(?:\?(.*))?", text.strip())
    if not found:
        raise PhibenchError(
            f"'{text}' is not a setup; write variant:quantization@backend/device?option=value, "
            "for example phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu"  # an example: core knows no backend
        )
    options: list[tuple[str, str]] = []
    for pair in filter(None, (found[5] or "").split("&")):
        key, sep, value = pair.partition("=")
        if not (key and sep and value):
            raise PhibenchError(f"'{pair}' in '{text}' is not an option; write option=value")
        if key in dict(options):
            raise PhibenchError(f"option '{key}' in '{text}' is given twice; keep one")
        options.append((key, value))
    return Setup(
        variant=found[1],
        quantization=found[2],
        backend=found[3],
        device=found[4] or "cpu",
        options=tuple(sorted(options)),
    )


class Amount(NamedTuple):
    """A number for people, and what stands behind it."""

    number: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.unit}" if self.unit else self.number


def gb(count: float) -> str:
    """Bytes for people, decimal: ``2.49 GB``, ``731 MB``."""
    return str(decimal_bytes(count))


def gib(count: float) -> str:
    """Memory for people, binary: ``24 GiB``, ``3.5 GiB``, ``310 MiB``."""
    return str(binary_bytes(count))


def duration(seconds: float) -> str:
    """``0.8 ms``, ``12.4 s``, ``3 min 5 s``, ``2 h 4 min``: whole units, never a false digit."""
    return str(time(seconds))


def decimal_bytes(count: float) -> Amount:
    for unit, base in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= base:
            value = count / base
            return Amount(f"{value:.0f}" if value >= 100 else f"{value:.3g}", unit)
    return Amount(f"{count:.0f}", "B")


def binary_bytes(count: float) -> Amount:
    value, unit = (count / (1 << 30), "GiB") if count >= 1 << 30 else (count / (1 << 20), "MiB")
    return Amount(f"{value:.0f}" if value >= 100 else f"{value:.3g}", unit)


def time(seconds: float) -> Amount:
    if seconds < 0.9995:
        return Amount(f"{seconds * 1e3:.3g}", "ms")
    if seconds < 100:
        return Amount(f"{seconds:.3g}", "s")
    whole = round(seconds)
    big, small, first, second = (
        (whole // 60, whole % 60, "min", "s") if whole < 3600 else (whole // 3600, whole % 3600 // 60, "h", "min")
    )
    return Amount(str(big), f"{first} {small} {second}" if small else first)


def context(count: int) -> str:
    """``8k`` for 8192, the plain number where it is not a whole k."""
    return f"{count // 1024}k" if count >= 1024 and count % 1024 == 0 else str(count)


def since_1970(stamp: str) -> float:
    """Seconds, of what :func:`now` says; 0 where it says nothing."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError, OSError):  # Windows knows no time of day before 1970
        return 0.0


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
