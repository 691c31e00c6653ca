"""Names of files from anywhere: which of the variants with one shape they mean."""

from __future__ import annotations

import pytest

from phibench import catalog
from phibench.catalog import naming
from phibench.core.nouns import Variant


def twins(of: str) -> tuple[Variant, ...]:
    """All whose widths, layers and vocabulary are those of this one."""
    shape = catalog.variant(of).shape
    assert shape is not None
    same = {field: getattr(shape, field) for field in ("layers", "hidden", "vocab", "ffn")}
    return tuple(v for v in catalog.variants() if all(getattr(v.shape, f, None) == value for f, value in same.items()))


@pytest.mark.parametrize(
    ("shape", "name", "variant"),
    [
        ("phi-3-mini", "Phi3Mini128K.Q4_K_M", "phi-3-mini-128k-instruct"),
        ("phi-3-mini", "phi3:3.8b-mini-128k-instruct-q4_K_M", "phi-3-mini-128k-instruct"),
        ("phi-3-mini", "mini_128k-phi-3", "phi-3-mini-128k-instruct"),
        ("phi-3-mini", "Phi-3-mini-instruct-128K", "phi-3-mini-128k-instruct"),
        ("phi-3-mini", "Phi-3-mini-128kinstruct", "phi-3-mini-128k-instruct"),
        ("phi-3-mini", "Phi 3 Mini 4k Instruct", "phi-3-mini-4k-instruct"),
        ("phi-3-mini", "phi-3-mini-Q4_K_M", "phi-3-mini-4k-instruct"),
        ("phi-3-mini", "Phi-3-mini-4k-5bit", "phi-3-mini-4k-instruct"),
        ("phi-3-mini", "f-4k", "phi-3-mini-4k-instruct"),
        ("phi-3-mini", "Phi-3-5-mini", "phi-3.5-mini-instruct"),
        ("phi-3-mini", "phi35mini.Q4_K_M", "phi-3.5-mini-instruct"),
        ("phi-3-mini", "phi3.5:latest", "phi-3.5-mini-instruct"),
        ("phi-3-mini", "phi-3-vision", "phi-3-vision-128k-instruct"),
        ("phi-3-mini", "phi3.Q5_K_M", None),
        ("phi-3-mini", "model", None),
        ("phi-4-mini", "Phi4MiniReasoning", "phi-4-mini-reasoning"),
        ("phi-4-mini", "phi-4-mini-finetuned", "phi-4-mini-instruct"),
        ("phi-4-mini", "phi-4-mm", "phi-4-multimodal-instruct"),
        ("phi-4-mini", "phi4", None),
        ("phi-4", "phi4-reasoning:plus", "phi-4-reasoning-plus"),
        ("phi-4", "Phi-4-reasoning", "phi-4-reasoning"),
        ("phi-4", "Phi-4-abliterated", "phi-4"),
        ("phi-1", "phi-1.Q5_K_M", "phi-1"),
        ("phi-1", "phi-1-5bit", "phi-1"),
        ("phi-1", "phi-1_5", "phi-1.5"),
    ],
)
def test_names_as_people_give_them(shape: str, name: str, variant: str | None) -> None:
    found = naming.meant([name], twins(shape))
    assert [v.id for v in found] == [variant] if variant else len(found) != 1


def test_every_variant_is_meant_by_its_own_names() -> None:
    for variant in catalog.variants():
        for name in catalog.names(variant):
            assert naming.meant([name], catalog.variants()) == (variant,), name
