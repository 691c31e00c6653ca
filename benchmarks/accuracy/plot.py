"""The picture of docs/accuracy.md: predicted against true tokens per second, one dot a cell or a published row.

    python benchmarks/accuracy/plot.py SCORE.json [DATASHEET.json] > docs/accuracy.svg

SCORE.json is what score.py --json writes, DATASHEET.json what datasheet.py --json prints.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_SIDE, _EDGE = 300, 44  # of one panel, and what its axes take
# Okabe and Ito, Color Universal Design: told apart by the colour-blind, too.
_COLORS = {"calibrate": "#0072b2", "probe": "#e69f00", "data sheet": "#cc79a7"}


class Dot(NamedTuple):
    kind: str
    phase: str
    true_tps: float
    predicted_tps: float


def dots(score: Path, datasheet: Path | None) -> list[Dot]:
    cells = json.loads(score.read_text(encoding="utf-8"))["cells"]
    found = [Dot(c["basis"], c["phase"], c["true_tps"], c["predicted_tps"]) for c in cells if c["basis"] in _COLORS]
    if datasheet:
        rows = json.loads(datasheet.read_text(encoding="utf-8"))["rows"]
        found += [Dot("data sheet", r["phase"], r["true_tps"], r["predicted_tps"]) for r in rows]
    return found


def picture(found: Sequence[Dot]) -> Iterator[str]:
    """Two panels with logarithmic axes; on the diagonal prediction and truth are equal, dashed is a factor of two."""
    width, height = 2 * (_SIDE + _EDGE) + 20, _SIDE + 2 * _EDGE
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    yield ' font-family="sans-serif" font-size="11">'
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    for number, phase in enumerate(("decode", "prefill")):
        yield f'<g transform="translate({_EDGE + number * (_SIDE + _EDGE)},{_EDGE // 2})">'
        yield from _panel([dot for dot in found if dot.phase == phase], phase)
        yield "</g>"
    for place, kind in enumerate(kind for kind in _COLORS if any(dot.kind == kind for dot in found)):
        x = _EDGE + 110 * place
        yield f'<circle cx="{x}" cy="{height - 10}" r="4" fill="{_COLORS[kind]}"/>'
        yield f'<text x="{x + 8}" y="{height - 6}">{kind}</text>'
    yield "</svg>"


def _panel(mine: Sequence[Dot], phase: str) -> Iterator[str]:
    ends = [value for dot in mine for value in (dot.true_tps, dot.predicted_tps)]
    low, high = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))

    def place(tps: float) -> float:
        return _SIDE * (math.log10(tps) - low) / (high - low)

    yield f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#888"/>'
    half = place(2 * 10**low)
    yield f'<line x1="0" y1="{_SIDE}" x2="{_SIDE}" y2="0" stroke="#444"/>'
    for a, b in ((half, 0.0), (0.0, half)):
        yield (f'<line x1="{a:.1f}" y1="{_SIDE - b:.1f}" x2="{_SIDE - b:.1f}" y2="{a:.1f}" stroke="#bbb" '
               'stroke-dasharray="4 3"/>')  # fmt: skip
    for power in range(low, high + 1):
        at = place(10**power)
        yield f'<text x="{at:.1f}" y="{_SIDE + 14}" text-anchor="middle">{10**power:g}</text>'
        yield f'<text x="-5" y="{_SIDE - at + 4:.1f}" text-anchor="end">{10**power:g}</text>'
    yield f'<text x="{_SIDE / 2}" y="{_SIDE + 28}" text-anchor="middle">true {phase}, tokens per second</text>'
    yield f'<text x="8" y="16">predicted {phase}</text>'
    for dot in sorted(mine, key=lambda dot: -list(_COLORS).index(dot.kind)):
        x, y = place(dot.true_tps), _SIDE - place(dot.predicted_tps)
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLORS[dot.kind]}" fill-opacity="0.7"/>'


if __name__ == "__main__":
    paths = [Path(name) for name in sys.argv[1:]]
    if not paths:
        sys.exit(__doc__)
    print("\n".join(picture(dots(paths[0], paths[1] if paths[1:] else None))))
