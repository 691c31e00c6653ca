"""What calibrating measures, that which says most about this machine first. Pure: nothing is opened or written.

A slice keeps a model's widths, embedding and head but has a few layers, so it says in a second how fast each of its
tensor types is here. Of every backend and device: a slice of the usual build at two depths (layers, KV cache), one
with a head six times as large (head and fixed cost), then a slice for every further tensor type, those first that
teach most in a second: of what the published builds hold most. The usual types are measured in two launches, far apart,
so that none hangs on one bad second. A whole file is the check: the slices must have predicted it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from phibench import backends, catalog
from phibench.backends.rates import KV
from phibench.catalog import builds
from phibench.catalog.plans.base import Plan
from phibench.core import caches
from phibench.core.nouns import Machine, Noun, Quantization, Setup, Suite, Warmup
from phibench.measure import suites

LAYERS_OF = "phi-3.5-mini-instruct"  # 32k words: its layers outweigh its head from the second on
HEAD_OF = "phi-4-mini-instruct"  # 200k words
WHOLES = (HEAD_OF, "phi-2", "phi-1.5")  # one of them is the check, the largest that the budget allows
WHOLE_SHARE = 0.3  # of the budget: the most that the check may take
AGAIN_SHARE = 0.12  # of the time at least for answers again: so are drift and types told apart (chosen)
UNKNOWN_CACHE_BYTES = 32 << 20
AGAIN, _ANSWERS = 12, 2  # launches of a slice's answers at most, and what one of them repeats
DEPTH = 1024  # a slice's KV cache is then a third of what a step reads
_FEWEST = 2  # layers of a slice
_ANCHOR_LAYERS, _ANCHOR_PROMPT, _ANCHOR_NEW = 4, 512, 32
_CHECK_PROMPT, _CHECK_NEW = 256, 16
_DEEP = 0.05  # what depth counts beside types; the usual engine's comes before them (assumed)
_UNPUBLISHED = 0.5  # what a build that nobody offers counts: somebody may make it (assumed)
_USUAL = 2.0  # how much more a type of the usual engine counts than one of others (assumed)
_TWICE = 0.13  # what is worth less gets one launch: a type that nobody has measured says more (assumed)
Place = tuple[str, str]  # backend, device


class Piece(Noun, frozen=True, kw_only=True):
    """One slice, or a whole (``layers`` None), with its tests. ``teaches``: tensor types whose rate it is taken for.

    ``worth``: against other pieces; infinite for what all estimates of an engine rest on. ``again``: launches of its
    answers alone, a fraction of a prompt's seconds, while there is time; answers hang on what memory does just then.
    """

    setup: Setup
    layers: int | None
    suite: Suite
    teaches: tuple[str, ...]
    worth: float = math.inf
    again: int = 0

    @property
    def name(self) -> str:
        deep = f" at {self.suite.depths[0]} tokens" if self.suite.depths[0] else ""
        return f"{self.setup}, {self.layers} layers{deep}" if self.layers else f"{self.setup}, whole"


class Seconds(Noun, frozen=True, kw_only=True):
    """What a piece should take: its file, which may be there already, and each launch; and once for all pieces of an
    engine whose worker stays, starting it."""

    write_s: float
    launch_s: float
    start_s: float = 0.0

    def all_s(self, launches: int) -> float:
        """Without the start."""
        return self.write_s + launches * self.launch_s


def slices(found: Sequence[Place], machine: Machine, models: Sequence[str] = ()) -> tuple[Piece, ...]:
    """Every slice worth measuring, in order of its worth: nobody gets a third before all have their second."""
    layers_of, head_of = (models[0], models[-1]) if models else (LAYERS_OF, HEAD_OF)
    suite = suites.load("calibrate")
    firsts = [_first(place, layers_of, suite, machine) for place in found]
    seconds = [_second(place, head_of, suite, machine) for place in found]
    rest: list[Piece] = []
    for place in found:
        worth = math.inf if place[0] == found[0][0] else _DEEP
        rest.append(msgspec.structs.replace(_deep(place, layers_of, suite, machine), worth=worth))
        rest += _types(place, layers_of, suite, machine)
    rest.sort(key=lambda piece: -piece.worth)  # stable: of equals the usual backend's first
    return (*firsts, *seconds, *rest)


def wholes(found: Sequence[Place], models: Sequence[str] = ()) -> tuple[Piece, ...]:
    """Files that could be the check, of the first place, largest first."""
    if not found:
        return ()
    (name, device), once = found[0], whole()
    backend = backends.load(name)
    made = [
        Piece(setup=_setup((name, device), model, backend.QUANTIZATION), layers=None, suite=once, teaches=())
        for model in models or WHOLES
    ]
    return tuple(sorted(made, key=lambda piece: -_plan(piece.setup, None).weights_bytes))


def whole(pairs: tuple[tuple[int, int], ...] = ()) -> Suite:
    """Of a whole file, once: a prompt and an answer, each by itself, or in these pairs."""
    single = () if pairs else (_CHECK_PROMPT,), () if pairs else (_CHECK_NEW,)
    return msgspec.structs.replace(
        suites.load("calibrate"), prompt_tokens=single[0], new_tokens=single[1], pairs=pairs, launches=1,
        warmup=Warmup(windows=1, max_windows=1, max_prompt_tokens=32),
    )  # fmt: skip


def answers(piece: Piece) -> Suite:
    """Its answers alone, as often as there is time."""
    return msgspec.structs.replace(piece.suite, prompt_tokens=(), repetitions=_ANSWERS, launches=piece.again)


def fitting(costs: Sequence[tuple[Piece, Seconds]], left_s: float) -> int:
    """How many of these, in their order, are done within ``left_s``."""
    return sum(1 for total in totals_s(costs) if total <= left_s)


def totals_s(costs: Sequence[tuple[Piece, Seconds]]) -> Iterator[float]:
    """After each of these, the start of each engine's worker included."""
    started: set[Place] = set()
    total_s = 0.0
    for piece, seconds in costs:
        total_s += seconds.all_s(piece.suite.launches)
        total_s += 0.0 if place_of(piece.setup) in started else seconds.start_s
        started.add(place_of(piece.setup))
        yield total_s


def place_of(setup: Setup) -> Place:
    return setup.backend, setup.device


def checked(costs: Sequence[tuple[Piece, Seconds]], budget_s: float) -> tuple[Piece, Seconds] | None:
    """The first whole whose time is a fair part of the budget."""
    most = WHOLE_SHARE * budget_s
    return next(((piece, s) for piece, s in costs if s.all_s(piece.suite.launches) <= most), None)


# ------------------------------------------------------------------------------------------ the pieces


def _first(place: Place, model: str, suite: Suite, machine: Machine) -> Piece:
    """The usual build, which opens every turn: what is between drifts with it."""
    return _piece(_setup(place, model, backends.load(place[0]).QUANTIZATION), suite, machine, _FEWEST)


def _second(place: Place, model: str, suite: Suite, machine: Machine) -> Piece:
    """A head six times as large: what does not grow with the layers; of the usual engine with longer tests."""
    setup = _setup(place, model, backends.load(place[0]).QUANTIZATION)
    once = msgspec.structs.replace(suite, launches=1)
    if setup.backend != backends.DEFAULT:  # longer ones take them as long as five further types
        return msgspec.structs.replace(_piece(setup, once, machine, _FEWEST), again=0)
    longer = msgspec.structs.replace(once, prompt_tokens=(_ANCHOR_PROMPT,), new_tokens=(_ANCHOR_NEW,))
    return _piece(setup, longer, machine, _ANCHOR_LAYERS)


def _deep(place: Place, model: str, suite: Suite, machine: Machine) -> Piece:
    """The first slice deep in a context: the KV cache, and attention. Filling it has warmed everything up."""
    setup = _setup(place, model, backends.load(place[0]).QUANTIZATION)
    once = msgspec.structs.replace(suite, depths=(DEPTH,), launches=1, warmup=Warmup(windows=1, max_windows=0))
    return msgspec.structs.replace(_piece(setup, once, machine, _FEWEST), teaches=(KV,), again=0)


def _types(place: Place, model: str, suite: Suite, machine: Machine) -> list[Piece]:
    """A slice for each tensor type but the usual build's: of the build whose layers hold most of it, worth its share of
    what is published for this engine."""
    backend = backends.load(place[0])
    rows = catalog.quantizations(backend.FORMATS[0])
    shares = {row.id: _shares(place, model, row) for row in rows}
    held: dict[str, float] = defaultdict(float)
    for row in rows:
        for kind, share in shares[row.id].items():
            held[kind] += _published(row, place) * share
    usual, once = _main(shares[backend.QUANTIZATION]), msgspec.structs.replace(suite, repetitions=2, launches=1)
    found = []
    weight = (_USUAL if place[0] == backends.DEFAULT else 1.0) / sum(held.values())
    for kind, amount in held.items():
        if kind == usual:
            continue
        best = max(rows, key=lambda row: (shares[row.id].get(kind, 0.0), _published(row, place)))
        worth = weight * amount
        piece = _piece(_setup(place, model, best.id), suite if worth >= _TWICE else once, machine, _FEWEST)
        found.append(msgspec.structs.replace(piece, teaches=(kind,), worth=worth))
    return found


def _published(row: Quantization, place: Place) -> float:
    return len(builds.repositories(row.format, row.id, place[1].partition(":")[0])) or _UNPUBLISHED


def _shares(place: Place, model: str, row: Quantization) -> dict[str, float]:
    """Of a build's layers: the part of the bytes that each kernel has. What is too small to be told is left out."""
    plan = _plan(_setup(place, model, row.id), None)
    sums: dict[str, float] = defaultdict(float)
    for tensor in plan.tensors:
        if tensor.name != plan.head and len(tensor.shape) > 1:
            own = plan.quantization.startswith(f"{tensor.type}-")  # int4-acc0 stores int4, and multiplies another way
            sums[plan.quantization if own else tensor.type] += tensor.bytes * plan.share(tensor)
    total = sum(sums.values())
    return {kind: size / total for kind, size in sums.items() if size >= 0.01 * total}


def _main(shares: dict[str, float]) -> str:
    return max(shares, key=shares.__getitem__)


def _piece(setup: Setup, suite: Suite, machine: Machine, fewest: int) -> Piece:
    count = _layers(setup, caches.last_level_bytes(machine, setup.device, UNKNOWN_CACHE_BYTES), fewest)
    plan = _plan(setup, count)
    kinds = dict.fromkeys(t.type for t in plan.tensors if len(t.shape) > 1 and plan.share(t))
    return Piece(setup=setup, layers=count, suite=suite, teaches=tuple(kinds), again=AGAIN)


def _layers(setup: Setup, cached: int, fewest: int) -> int:
    """As few as read several times what the caches hold; at most all."""
    shape = catalog.variant(setup.variant).shape
    assert shape is not None
    for count in range(min(fewest, shape.layers), shape.layers):
        if _plan(setup, count).read_bytes_per_token >= caches.FACTOR * cached:
            return count
    return shape.layers


def _setup(place: Place, model: str, quantization: str) -> Setup:
    return Setup(variant=catalog.variant(model).id, quantization=quantization, backend=place[0], device=place[1])


def _plan(setup: Setup, layers: int | None) -> Plan:
    return backends.plan(backends.load(setup.backend), catalog.variant(setup.variant), setup.quantization, layers)
