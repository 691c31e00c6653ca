"""How much memory a machine has, as people and inventories write it. Pure functions.

Memory is sold by powers of two: GB, GiB and G all mean 2^30 bytes here, as in the table of devices.
"""

from __future__ import annotations

import re

from phibench.core.errors import PhibenchError

GIB = 1 << 30
LEAST_BYTES, MOST_BYTES = GIB // 4, 64 << 40
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_NUMBER = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+|\d{1,15}(?:[.,]\d{1,9}){0,5}"
_AMOUNT = re.compile(
    rf"(?<![\w.,-])(?:(?P<times>\d{{1,2}}) ?[x×*] ?)?"
    rf"(?P<number>{_NUMBER}) ?(?P<unit>[kmgt])(?:i?[bo])?\b"
    rf"|(?<![\w.,])(?P<bytes>{_NUMBER}) ?(?:b|bytes|octets)\b",
    re.IGNORECASE,
)
_BARE = re.compile(_NUMBER)
# Sold sizes in GiB. Systems show less than is fitted (graphics and firmware keep some: 15.9, 15.4 of 16) or round.
_SOLD = (1, 2, 3, 4, 6, 8, 12, 16, 18, 20, 24, 32, 36, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_SHOWN = 0.93  # of what is fitted; also what 16 x 10^9 bytes are of 16 GiB


def ram_bytes(text: str, unit: str = "") -> int:
    """``16GiB``, ``16,0 GB``, ``16384 MB``, ``2x8GB``, ``16`` and so on; ``unit`` (k, m, g, t, b): of a number alone.

    Without one it is GiB up to 1023, then MiB, from 4 million on KiB, from 2^30 on bytes: no machine has more of one or
    less of the next. Raises PhibenchError (exit 2).
    """
    text = " ".join(text.split())[:200]
    bare = _BARE.fullmatch(text)
    found = _alone(_value(text, grouped=unit not in ("g", "t")), unit) if bare else _sum(text)
    if found is None:
        raise PhibenchError(f"'{text[:60]}' is not a memory size; write 16GiB, 16384 MB or 16")
    if not LEAST_BYTES <= found <= MOST_BYTES:
        raise PhibenchError(f"'{text[:60]}' is not the memory of a machine that runs a Phi; write for example 16GiB")
    return round(found)


def as_sold(count: int) -> int:
    """The size that is fitted, of one that a system showed; itself where none is near."""
    gib = count / GIB
    decimal = count / 1.073741824 / GIB  # "17.2 GB" that were 17.2 x 10^9 bytes
    exact = next((size for size in _SOLD for seen in (gib, decimal) if abs(seen / size - 1) < 0.003), None)
    shown = next((size for size in _SOLD if _SHOWN <= gib / size <= 1), None)
    size = exact or shown
    return size * GIB if size else count


def _sum(text: str) -> float | None:
    """Of ``8 GB + 16 GB``; what follows in a part ("8 GB (2 x 4 GB)", "DDR4") explains it."""
    found = [_AMOUNT.search(part) for part in text.split("+")]
    if not all(found):
        return None
    return sum(_amount(one) for one in found if one)


def _amount(found: re.Match[str]) -> float:
    if found["bytes"]:
        return _value(found["bytes"], grouped=True)
    power = _POWERS[found["unit"].lower()]
    value: float = _value(found["number"], grouped=power < 3) * 1024.0**power
    return value * int(found["times"] or 1)


def _value(text: str, *, grouped: bool) -> float:
    """A number with a comma or a point for decimals; ``grouped``: three digits after a single one are thousands."""
    text = re.sub(r"\s", "", text)
    marks = re.findall(r"[.,]", text)
    one = len(marks) == 1
    if marks and (not one or (grouped and re.fullmatch(r"\d{1,3}[.,]\d{3}", text))):
        whole, _, rest = text.rpartition(marks[-1])
        decimals = not one and marks[-1] not in marks[:-1]  # 1.024,5
        text = re.sub(r"[.,]", "", whole) + (f".{rest}" if decimals else rest)
    return float(text.replace(",", "."))


def _alone(value: float, unit: str) -> float:
    if unit:
        return value * 1024.0 ** _POWERS[unit]
    power = 3 if value < 1024 else 2 if value < 4 << 20 else 1 if value < GIB else 0
    return value * 1024.0**power
