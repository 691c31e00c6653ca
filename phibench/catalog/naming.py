"""Which variant the names that people give to files mean: of several that a file could be, as nothing else tells.

Words count, not their order or what stands between them: ``Phi3Mini128K.Q4_K_M``, ``phi3:3.8b-mini-128k-instruct``,
``mini_128k-phi-3``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from phibench import catalog
from phibench.core.nouns import Variant

_HALF = re.compile(r"phi[\s._-]*([13])[\s._-]*5(?!\d|\.\d|[\s._-]?b(?:its?|pw)?(?![a-z]))")  # 3.5, 3_5, 35; no 5bit
_FAMILY = re.compile(r"phi[\s._-]*([1-9])(?!\d|\.5)")
_WORD = re.compile(r"phi\d(?:\.5)?|i?q\d+(?:_?k)?|\d+k|[a-z]+|\d+[a-z]*")  # q4k is no 4k


def meant(texts: Sequence[str], among: Sequence[Variant]) -> tuple[Variant, ...]:
    """Those of ``among`` that the texts mean: one, several that they leave open, or none where they say nothing.

    A whole name decides, the longest before shorter ones; else the words that tell these variants apart.
    """
    if whole := named(texts, among):
        return whole
    common = frozenset[str]().union(*map(words, texts)) & own_words(among)
    told = frozenset(word for word in common if not all(word in own_words([v]) for v in among))
    return tuple(v for v in among if told <= own_words([v])) if told else ()


def named(texts: Iterable[str], among: Sequence[Variant]) -> tuple[Variant, ...]:
    """Those of ``among`` of which a whole name stands in the texts, the longest before shorter ones."""
    found = [words(text) for text in texts]
    standing = [(len(name), v) for v in among for name in _names(v) if any(name <= text for text in found)]
    longest = max((length for length, _ in standing), default=0)
    return tuple(dict.fromkeys(v for length, v in standing if length == longest))


def own_words(variants: Iterable[Variant]) -> frozenset[str]:
    """Every word of their names."""
    return frozenset[str]().union(*(name for v in variants for name in _names(v)))


def words(text: str) -> frozenset[str]:
    """``Phi-3-mini-128k-instruct`` is phi3, mini, 128k, instruct; what is written together in capitals is parted."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text).lower()
    text = _HALF.sub(r" phi\1.5 ", text)
    return frozenset(_WORD.findall(_FAMILY.sub(r" phi\1 ", text)))


def _names(variant: Variant) -> tuple[frozenset[str], ...]:
    return tuple(words(name.removeprefix("microsoft/")) for name in catalog.names(variant))
