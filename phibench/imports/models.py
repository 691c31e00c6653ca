"""Which Phi a row of llama-bench measured, and in which quantization."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache

from phibench import catalog
from phibench.catalog import naming, plans
from phibench.catalog.plans import gguf as plan_gguf
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Variant
from phibench.imports.llama_bench import Bench

FORMAT = "gguf"
_FACTORS = re.compile(r"rope_factors_\w+\.weight")
_NO_FACTORS = "its file lacks LongRoPE's factors, which some converters left out; by size alone it could be another Phi"


def variant(row: Bench, asked: str | None) -> tuple[Variant, tuple[str, ...]]:
    """By architecture and exact number of parameters, then by the file's name or its folders'; ``asked`` decides
    what is left.

    Without LongRoPE's factors a model counts like its twin without LongRoPE: then only a name makes it one, and a
    note says so.
    """
    architecture = row.model_type.split(" ")[0]
    known = [v for v in catalog.variants() if v.shape and v.shape.architecture == architecture]
    whole, bare = ([v for v in known if _counts(v.id)[i] == row.model_n_params] for i in (0, 1))
    if not (fitting := [*whole, *bare]):
        raise PhibenchError(
            f"no Phi that phibench knows is '{row.model_type}' with {row.model_n_params} parameters: phibench models"
        )
    if asked is not None and asked not in [v.id for v in fitting]:
        raise PhibenchError(
            f"not {asked}; with {row.model_n_params} parameters it is one of {', '.join(v.id for v in fitting)}"
        )
    named = _named(row.model_filename, fitting)
    if asked is not None:
        found = catalog.variant(asked)
    elif named:
        found = named
    elif len(whole or bare) == 1:
        (found,) = whole or bare
    else:
        raise PhibenchError(
            f"'{row.model_type}' with {row.model_n_params} parameters may be "
            f"{', '.join(v.id for v in whole or bare)}; say which with -m"
        )
    return found, () if found in whole else (_NO_FACTORS,)


@cache
def _counts(name: str) -> tuple[int | None, int | None]:
    """Elements in a file, as llama.cpp counts them: of all tensors, and without LongRoPE's factors if it has any."""
    one = catalog.variant(name)
    if plans.objection(one, FORMAT):
        return None, None
    sizes = {tensor.name: math.prod(tensor.shape) for tensor in plans.plan(one, "Q8_0", fmt=FORMAT).tensors}
    factors = sum(size for name, size in sizes.items() if _FACTORS.fullmatch(name))
    return sum(sizes.values()), sum(sizes.values()) - factors if factors else None


def _named(path: str, fitting: Sequence[Variant]) -> Variant | None:
    """The one that the file's name means, else that the nearest folder is named after."""
    folders, _, base = path.replace("\\", "/").rpartition("/")
    told = [naming.meant([base], fitting)]
    told += [naming.named([folder], fitting) for folder in reversed(folders.split("/"))]
    return next((found[0] for found in told if len(found) == 1), None)


def quantization(row: Bench, variant: Variant) -> str:
    """By llama.cpp's words for it, where the file's size agrees."""
    said = row.model_type.split(" ", 2)[2] if row.model_type.count(" ") > 1 else ""
    name = _file_type(said)
    try:
        found = catalog.quantization(name, FORMAT).id
    except PhibenchError:  # it lists all that there are, which helps nobody who has this one
        raise PhibenchError(
            f"'{row.model_type}': unknown quantization '{name}'; if it has another name here, give -q"
        ) from None
    planned = plans.plan(variant, found, fmt=FORMAT).weights_bytes
    if row.model_size and abs(row.model_size / planned - 1) > plan_gguf.SAME_SIZE:
        raise PhibenchError(
            f"{variant.id} in {found} weighs {planned} bytes, this model {row.model_size}; say which with -q"
        )
    return found


def _file_type(said: str) -> str:
    """llama.cpp's words (llama_model_ftype_name) to its names: ``mostly Q4_K - Medium`` is ``Q4_K_M``."""
    base, _, tail = said.removeprefix("mostly ").replace("(guessed)", "").strip().partition(" - ")
    if base == "IQ3_S mix":
        return "IQ3_M"
    if base == "Q2_K" and tail == "Medium":
        return "Q2_K"
    size = {"Small": "_S", "Medium": "_M", "Large": "_L"}.get(tail.strip(), "")
    return base.removeprefix("all ") + size
