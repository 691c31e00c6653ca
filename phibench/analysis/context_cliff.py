"""The context cliff: a pause or a step in a walk, a stretch of context decoded token by token. Pure functions.

A *pause* is one long gap: the KV cache is computed again, as transformers and onnxruntime-genai do for LongRoPE
models at the first token past the original context. A *step* is a decode that is slower ever after.

What tells a cliff from noise is that it comes back at the same token in every repetition. So each repetition scores
every token, a score counts by its rank (``-ln(rank / n)``, Fisher's way to combine tests), and the sum over the
repetitions is compared with the highest sum after turning each repetition by a random angle: that keeps all that is
in one repetition (tails, bursts, drift) and breaks only what is common to all. docs/context.md has the false alarms
and the power, measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phibench import catalog
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Measured, Noun, Suite, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Gaps = NDArray[np.float64]  # seconds of every token, shape (repetitions, tokens)

ALPHA = 0.01  # of each test
PAUSE_TIMES = 2.0  # a shorter gap, in medians of the gaps around it, is no pause
STEP_SHARE = 0.03  # llama.cpp works on its KV cache in blocks of 256 tokens: steps of 1 % are everywhere
WINDOW = 32  # tokens before, and after, that a step is judged by; also around a pause
SKIPPED = 8  # the first tokens wake threads and caches in every repetition
SHORTEST = 128  # tokens of a walk: in a shorter one even the best of two repetitions is no rarer than ALPHA
MOST_TOKENS = 1 << 16  # of a walk; more is no walk but a damaged or foreign file
_TURNS = 999
_CLIPPED = 0.05  # of the shortest and of the longest gaps, before they are averaged
_NEAR = 8  # tokens around the most surprising one in which a step may begin
_CLOCK_S = 1e-9


class Pause(Noun, frozen=True, kw_only=True):
    """``token`` (1 is the first of the sequence) came ``seconds`` after the one before it."""

    token: int
    seconds: float

    def __str__(self) -> str:
        return f"pause of {units.duration(self.seconds)} at token {self.token}"


class Step(Noun, frozen=True, kw_only=True):
    """From ``token`` on each token takes ``after_s`` instead of ``before_s``: medians of the WINDOW on either side."""

    token: int
    before_s: float
    after_s: float

    def __str__(self) -> str:
        percent = 100 * (self.before_s / self.after_s - 1)
        speeds = f"{_speed(self.before_s)} -> {_speed(self.after_s)} tok/s"
        return f"slower from token {self.token}: {speeds} ({percent:.0f} %)"


def notes(suite: Suite, measured: Sequence[Measured], *, by_context: str = "") -> tuple[str, ...]:
    """What the repetitions (in all launches) of one test of a suite with walks say; nothing for other suites.

    ``by_context``: the engine, where it chooses LongRoPE's factors by the configured context, once for all tokens.
    """
    if not suite.walks or not measured:
        return ()
    workload = measured[0].workload
    said = _factors(measured[0], by_context) if by_context else ()
    if workload.prompt_tokens or (workload.depth, workload.context) not in suite.walks:
        return said
    return (*_findings(workload, [s.arrivals_s for m in measured for s in m.samples]), *said)


def _findings(workload: Workload, arrivals: Sequence[Sequence[float]]) -> tuple[str, ...]:
    if workload.new_tokens < SHORTEST:
        return (
            f"not judged: a walk of fewer than {SHORTEST} tokens is too short to tell a pause or a step from chance",
        )
    whole = gaps(workload.new_tokens, arrivals)
    if len(whole) < 2:
        return ("not judged: one repetition cannot tell a pause or a step from chance; take -r 3",)
    paused = pause(workload.depth, whole)
    found = [str(f) for f in (paused, step(workload.depth, whole, paused)) if f]
    return tuple(found) or (f"no pause and no step from token {workload.depth + 1} to {workload.context}",)


def _factors(measured: Measured, engine: str) -> tuple[str, ...]:
    """Which factors a context of this size was given."""
    try:
        shape = catalog.variant(measured.setup.variant).shape
    except PhibenchError:  # a run of another version may hold a variant that this one does not know
        return ()
    if shape is None or not shape.longrope or not shape.original_context:
        return ()
    long = measured.workload.context > shape.original_context
    which, size = ("long", "more than") if long else ("short", "at most")
    return (
        f"{engine} uses the {which} factors for the whole context, "
        f"since {size} {shape.original_context} tokens were configured",
    )


def gaps(tokens: int, arrivals: Sequence[Sequence[float]]) -> Gaps:
    """Seconds of every token, shape (repetitions, tokens); a repetition with missing or unordered arrivals is left out.

    The first gap is the time from the start to the first arrival.
    """
    import numpy as np

    kept = [np.asarray(a, float) for a in arrivals if len(a) == tokens <= MOST_TOKENS]
    made = [np.diff(a, prepend=0.0) for a in kept if np.isfinite(a).all()]
    good = [g for g in made if (g >= 0).all()]
    return np.asarray(np.maximum(np.array(good).reshape(len(good), tokens), _CLOCK_S))


def pause(depth: int, gaps: Gaps) -> Pause | None:
    """The token whose gap stands out in all repetitions of a walk that began with ``depth`` tokens in the KV cache."""
    import numpy as np

    used = gaps[:, SKIPPED:]
    if used.shape[1] <= WINDOW:
        return None
    times = used / np.array([_median_around(row) for row in used])
    place = _common(times)
    if place is None or np.median(times[:, place]) < PAUSE_TIMES:
        return None
    return Pause(token=depth + SKIPPED + place + 1, seconds=float(np.median(used[:, place])))


def step(depth: int, gaps: Gaps, paused: Pause | None = None) -> Step | None:
    """The token from which on all repetitions are slower: at once, and still at the end of the walk.

    The gap of ``paused`` does not count: it would draw a step that begins near it to itself.
    """
    import numpy as np

    used = gaps[:, SKIPPED:].copy()
    if used.shape[1] < 3 * WINDOW:
        return None
    if paused:
        place = paused.token - depth - SKIPPED - 1
        used[:, place] = [_median_around(row)[place] for row in used]
    found = _common(np.array([_contrast(row) for row in used]))
    if found is None:
        return None
    place = max(WINDOW, min(_begin(used, found + WINDOW), used.shape[1] - WINDOW))
    before = np.median(used[:, place - WINDOW : place], axis=1)
    after = np.median(used[:, place : place + WINDOW], axis=1)
    rest, end = np.median(used[:, place:], axis=1), np.median(used[:, -WINDOW:], axis=1)
    if min(np.median(later / before) for later in (after, rest, end)) < 1 + STEP_SHARE:
        return None
    return Step(token=depth + SKIPPED + place + 1, before_s=float(np.median(before)), after_s=float(np.median(after)))


def _median_around(row: Gaps) -> Gaps:
    """The median of the WINDOW around each token; at the ends the walk is mirrored."""
    import numpy as np

    half = WINDOW // 2
    around = np.lib.stride_tricks.sliding_window_view(np.pad(row, half, mode="reflect"), 2 * half + 1)
    return np.asarray(np.median(around, axis=1))


def _contrast(row: Gaps) -> Gaps:
    """Mean of the logarithms of the WINDOW gaps from each token on, less that of the WINDOW before it.

    Clipped first, so that a hiccup weighs little; not to ranks, which would blur where a large step begins.
    """
    import numpy as np

    logs = np.log(row)
    logs = np.clip(logs, *np.quantile(logs, (_CLIPPED, 1 - _CLIPPED)))
    means = np.lib.stride_tricks.sliding_window_view(logs, WINDOW).mean(axis=1)
    return np.asarray(means[WINDOW:] - means[:-WINDOW])


def _begin(used: Gaps, place: int) -> int:
    """Where around ``place`` the gaps stop to be nearer to those before it and begin to be nearer to those after it.

    Each gap votes with its distance from the middle of both medians, at most with the distance of a median.
    """
    import numpy as np

    logs = np.log(used)
    low = np.median(logs[:, place - WINDOW : place], axis=1, keepdims=True)
    high = np.median(logs[:, place : place + WINDOW], axis=1, keepdims=True)
    half = (high - low) / 2
    votes = (logs[:, place - _NEAR : place + _NEAR] - (low + high) / 2) / np.maximum(half, _CLOCK_S)
    early = -(np.clip(votes, -1, 1) * (half > 0)).sum(axis=0)  # that the step has not begun yet
    return place - _NEAR + int(np.concatenate(([0.0], np.cumsum(early))).argmax())


def _common(scores: Gaps) -> int | None:
    """The place where the scores of all repetitions are high together, if chance does that in under ALPHA of cases.

    A Monte Carlo test (Phipson and Smyth, 2010: p = (1 + as high) / (1 + turns)) with a fixed seed: the same file
    always gives the same answer.
    """
    import numpy as np

    rows = np.array([_surprise(row) for row in scores])
    total = rows.sum(axis=0)
    place, size = int(total.argmax()), rows.shape[1]
    twice = np.concatenate((rows, rows), axis=1)
    turns = np.random.default_rng(0).integers(0, size, (_TURNS, len(rows)))
    highest = total[place] - 1e-9
    as_high = 1
    for drawn in turns:
        turned = [row[turn : turn + size] for row, turn in zip(twice, drawn, strict=True)]
        as_high += bool(np.sum(turned, axis=0).max() >= highest)
        if as_high > ALPHA * (1 + _TURNS):
            return None
    return place


def _surprise(row: Gaps) -> Gaps:
    """``-ln`` of the share of tokens that score at least as high; equal scores surprise equally."""
    import numpy as np

    return np.asarray(-np.log(1 - np.searchsorted(np.sort(row), row, side="left") / len(row)))


def _speed(seconds: float) -> str:
    speed = 1 / seconds
    return f"{speed:.0f}" if speed >= 100 else f"{speed:.3g}"
