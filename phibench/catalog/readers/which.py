"""Which Phi a file is: by its shape, and among those of one shape by rope, context and names.

What the file does not tell is said in a note, never guessed in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from phibench import catalog
from phibench.catalog import naming, plans
from phibench.catalog.readers.untrusted import Said
from phibench.core.errors import PhibenchError
from phibench.core.nouns import ARCHITECTURES, Shape, Variant

Found = tuple[Variant, tuple[str, ...]]
MOST_RESIZED = 4  # times: chosen; languages were added to Phi-1.5 with a third more words (huggingface/peft 1173)
NEAREST = 6  # folders above, whose names may tell: hub/models--x/snapshots/hash/cpu_and_mobile/int4
_NOT_SHAPE = ("context",)  # of the numbers: told by a file, and changed by hand


def variant(path: Path, said: Said, fmt: str, told: str | None = None) -> Found:
    """The variant, and notes on what had to be guessed or is not as it is published; ``told``: as which a synthetic
    file was made.

    Raises PhibenchError (exit 2) when no Phi has this shape.
    """
    if told is not None:
        return _synthetic(path, said, told, fmt), ()
    known = [v for v in catalog.variants() if plans.can_plan(v, fmt) and _shape(v).architecture in _kin(said)]
    notes: list[str] = []
    fitting = [v for v in known if not _differences(v, said)]
    if not fitting:
        fitting, notes = _resized(known, said)
    if not fitting:
        near = _nearest(known, said)
        raise PhibenchError(f"{path} has the shape of no Phi that phibench knows{near}; see phibench models")
    alike = fitting
    fitting, more = _by_rope(fitting, said)
    notes += more
    fitting = _prefer(fitting, lambda shape: shape.context == said.numbers.get("context"))
    fitting = list(naming.meant(said.names, fitting)) or fitting
    for place in said.places:
        fitting = list(naming.named([place], fitting)) or fitting
    if len(fitting) == 1:
        return fitting[0], (*notes, *_contrary(fitting[0], alike, said))
    first = next((v for v in fitting if v.modalities_in == ("text",)), fitting[0])
    others = ", ".join(v.id for v in fitting if v is not first)
    return first, (*notes, f"its shape is also that of {others}, and no name decides: taken for {first.id}")


def _contrary(chosen: Variant, alike: Sequence[Variant], said: Said) -> tuple[str, ...]:
    """A note where rope and context chose another than the one that the names mean."""
    named = naming.named(said.names, alike)
    if not named or chosen in named:
        return ()
    return (f"its name says {named[0].id}, but its rope and context are those of {chosen.id}",)


def _synthetic(path: Path, said: Said, told: str, fmt: str) -> Variant:
    """The variant that a synthetic file says it is; a slice has fewer layers, all else must fit."""
    found = catalog.variant(told)
    wrong = [name for name, mine, its in _differences(found, said) if name != "layers" or not 1 <= (its or 0) <= mine]
    if plans.objection(found, fmt) or _shape(found).architecture != said.architecture or wrong:
        raise PhibenchError(f"{path} says that it is a synthetic {found.id}, but has another shape; delete it")
    return found


def in_llamas_form(path: Path, said: Said, fmt: str) -> Variant | None:
    """The Phi whose numbers a model of another architecture has: converters part its fused matrices so."""
    if said.architecture in ARCHITECTURES or not said.numbers.get("ffn"):
        return None
    try:
        return variant(path, said, fmt)[0]
    except PhibenchError:
        return None


def own_names(path: Path) -> tuple[str, ...]:
    """The names that a file or folder was given, and that of what a link leads to.

    Of a snapshot in a hub's cache, whose name is a hash, its model's.
    """
    return tuple(_own_name(one) for one in _paths(path))


def places(path: Path) -> tuple[str, ...]:
    """Names of the folders that it lies in, nearest first: a hub's ``models--owner--name`` is one."""
    parents = [parent for one in _paths(path) for parent in list(one.parents)[:NEAREST]]
    return tuple(parent.name.rpartition("--")[2] for parent in parents if parent.name)


def _own_name(path: Path) -> str:
    is_hash = re.fullmatch(r"(sha256-)?[0-9a-f]{20,64}", path.name)
    return path.parent.parent.name.rpartition("--")[2] if is_hash and path.parent.name == "snapshots" else path.name


def _paths(path: Path) -> tuple[Path, ...]:
    return tuple(dict.fromkeys((path.absolute(), path.resolve())))


def _shape(of: Variant) -> Shape:
    assert of.shape is not None
    return of.shape


def _kin(said: Said) -> tuple[str, ...]:
    """Architectures that are compared: its own; of a model that is no Phi, the one that can be written as Llama."""
    return (said.architecture,) if said.architecture in ARCHITECTURES else ("phi3",)


def _differences(of: Variant, said: Said) -> list[tuple[str, int, int | None]]:
    """Every number that decides bytes and speed and is another: name, the variant's, the file's."""
    pairs = [(name, getattr(of.shape, name), its) for name, its in said.numbers.items() if name not in _NOT_SHAPE]
    return [(name, mine, its) for name, mine, its in pairs if its is not None and mine != its]


def _resized(known: Sequence[Variant], said: Said) -> tuple[list[Variant], list[str]]:
    """Those that differ in the vocabulary alone, which fine-tunes cut or pad; of several the nearest."""
    words = said.numbers.get("vocab") or 0
    alike = [v for v in known if [name for name, _, _ in _differences(v, said)] == ["vocab"]]
    if not alike or words < 1:
        return [], []
    near = min((_shape(v).vocab for v in alike), key=lambda vocab: abs(math.log(words / vocab)))
    if not 1 / MOST_RESIZED <= words / near <= MOST_RESIZED:
        return [], []
    note = f"its vocabulary has {words} words, not {near}: a fine-tune; its own tensors are counted"
    return [v for v in alike if _shape(v).vocab == near], [note]


def _nearest(known: Sequence[Variant], said: Said) -> str:
    if not known:
        return ""
    least = min(len(_differences(v, said)) for v in known)
    twins = _by_rope([v for v in known if len(_differences(v, said)) == least], said)[0]
    off = (naming.meant(said.names, twins) or twins)[0]
    differs = ", ".join(f"{name} {its}, not {mine}" for name, mine, its in _differences(off, said))
    return f" (nearest is {off.id}: {differs})"


def _by_rope(fitting: list[Variant], said: Said) -> tuple[list[Variant], list[str]]:
    """By the rope's base, and by LongRoPE's factors, which the first converters left out."""
    fitting = _prefer(fitting, lambda shape: said.rope_theta in (None, shape.rope_theta))
    long = [v for v in fitting if _shape(v).longrope]
    plain = [v for v in fitting if not _shape(v).longrope]
    if said.longrope:
        return (long, []) if long else (plain, ["it has LongRoPE's factors, as no Phi of this shape"])
    if long and (not plain or _says_long(long, plain, said)):
        upto = _shape(long[0]).original_context
        return long, [f"LongRoPE's factors are missing: beyond {upto} tokens its answers are not the model's"]
    context = said.numbers.get("context")
    odd = f"its context length is {context}, but it has no LongRoPE and its name says that it needs none"
    return plain, [odd] if plain and _any(long, context) and not _any(plain, context) else []


def _says_long(long: Sequence[Variant], plain: Sequence[Variant], said: Said) -> bool:
    """Whether a file without factors is all the same one that needs them: its names tell, else its context."""
    named = naming.meant(said.names, [*plain, *long])
    words = frozenset().union(*(naming.words(name) for name in said.names))
    if words & (naming.own_words(plain) - naming.own_words(long)):  # 4k
        return False
    context = said.numbers.get("context")
    return (bool(named) and all(v in long for v in named)) or (_any(long, context) and not _any(plain, context))


def _any(variants: Sequence[Variant], context: int | None) -> bool:
    return any(_shape(v).context == context for v in variants)


def _prefer(variants: list[Variant], good: Callable[[Shape], bool]) -> list[Variant]:
    """Those that are good; all of them when none is."""
    return [v for v in variants if good(_shape(v))] or variants
