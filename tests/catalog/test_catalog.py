"""The catalog: every file reads, every name means one thing, every fact has a source or says that it has none."""

from __future__ import annotations

import re
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench import catalog
from phibench.catalog import plans
from phibench.catalog.plans import gguf as plan_gguf
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.metrics import METRICS
from phibench.core.nouns import Goal, Variant

VARIANTS = catalog.variants()
SHAPED = [v for v in VARIANTS if v.shape]
BY_ID = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.id)
REQUIREMENTS = {"reasoning", "function_calling", "multilingual", "image", "audio", "open_licence"}


def best(variant: Variant, benchmark: str) -> float:
    """The score to compare: the first of a benchmark in the file."""
    return next((s.value for s in variant.scores if s.benchmark == benchmark), 0.0)


# -------------------------------------------------------------------------------------------------- variants


def test_all_variants_are_there_in_order_of_release() -> None:
    assert len(VARIANTS) == 27
    assert list(VARIANTS) == sorted(VARIANTS, key=lambda v: (v.release, v.id))
    assert {v.id for v in VARIANTS} == {path.stem for path in (catalog.FOLDER / "variants").glob("*.toml")}


def test_a_name_belongs_to_one_variant() -> None:
    keys = Counter(key for v in VARIANTS for key in {re.sub(r"[\s._-]", "", n.lower()) for n in catalog.names(v)})
    assert [key for key, count in keys.items() if count > 1] == []


@BY_ID
def test_every_name_finds_its_variant(variant: Variant) -> None:
    for name in catalog.names(variant):
        assert catalog.variant(name) is variant
        assert catalog.variant(name.upper()) is variant
        assert catalog.variant(name.split("/")[-1]) is variant


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("phi-4-mini", "phi-4-mini-instruct"),
        ("Phi-3-Silica", "phi-silica"),
        ("Phi-3.5-MoE", "phi-3.5-moe-instruct"),
        ("Phi-4-multimodal", "phi-4-multimodal-instruct"),
        ("Phi-3-mini", "phi-3-mini-4k-instruct"),
        ("Phi-3-small", "phi-3-small-8k-instruct"),
        ("Phi-3-medium", "phi-3-medium-4k-instruct"),
        ("Phi-3-vision", "phi-3-vision-128k-instruct"),
        ("Phi-3.5-vision", "phi-3.5-vision-instruct"),
        ("Phi-3.5-mini", "phi-3.5-mini-instruct"),
        ("phi-1_5", "phi-1.5"),
        ("phi4-mini", "phi-4-mini-instruct"),
        ("Phi 4 reasoning plus", "phi-4-reasoning-plus"),
        ("microsoft/Phi-4-mini-flash-reasoning", "phi-4-mini-flash-reasoning"),
    ],
)
def test_the_names_that_people_use(name: str, variant: str) -> None:
    assert catalog.variant(name).id == variant


@given(st.sampled_from([n for v in VARIANTS for n in catalog.names(v)]), st.data())
def test_case_and_separators_do_not_matter(name: str, data: st.DataObject) -> None:
    spellings = {"/": ["/"], **{mark: ["-", "_", ".", " ", ""] for mark in "-._"}}
    letters = [data.draw(st.sampled_from(spellings.get(c, [c.lower(), c.upper()]))) for c in name]
    written = "".join(letters)
    assert catalog.variant(written) is catalog.variant(name)


@pytest.mark.parametrize("name", ["phi-4-minni-instruct", "../variants/phi-4", "", "gpt-4"])
def test_an_unknown_variant_is_one_clear_line(name: str) -> None:
    with pytest.raises(PhibenchError, match=re.escape(f"unknown variant '{name}'")) as caught:
        catalog.variant(name)
    assert caught.value.exit_code == 2
    assert "phibench models" in str(caught.value)


def test_a_misspelled_variant_names_the_nearest() -> None:
    with pytest.raises(PhibenchError, match="did you mean 'phi-4-mini-instruct'"):
        catalog.variant("phi-4-minni-instruct")


@pytest.mark.parametrize("variant", SHAPED, ids=lambda v: v.id)
def test_kv_cache_follows_from_the_shape(variant: Variant) -> None:
    shape = variant.shape
    assert shape is not None
    assert variant.kv_bytes_per_token_f16 == 2 * shape.layers * shape.kv_heads * shape.head_dim * 2


@pytest.mark.parametrize("variant", SHAPED, ids=lambda v: v.id)
def test_a_shape_is_possible(variant: Variant) -> None:
    shape = variant.shape
    assert shape is not None
    assert shape.heads % shape.kv_heads == 0
    assert shape.rope_dims % 2 == 0 < shape.rope_dims <= shape.head_dim
    assert shape.context == variant.context_tokens
    assert shape.longrope == (shape.original_context is not None)
    assert bool(shape.experts) == (shape.architecture == "phimoe")
    assert plans.can_plan(variant, "gguf")


@pytest.mark.parametrize("variant", [v for v in SHAPED if v.modalities_in == ("text",)], ids=lambda v: v.id)
def test_parameters_are_those_of_the_plan(variant: Variant) -> None:
    assert plans.plan(variant, "F16", fmt="gguf").parameters == variant.parameters


@BY_ID
def test_what_is_from_memory_says_so(variant: Variant) -> None:
    fields = {f.name for f in msgspec.structs.fields(variant)}
    inner = {f"shape.{f.name}" for f in msgspec.structs.fields(variant.shape)} if variant.shape else set()
    assert set(variant.from_memory) <= fields | inner
    for score in variant.scores:
        assert (score.source == "from memory") == (score.source_kind == "memory")
    told = " ".join(filter(None, (variant.parameters_note, variant.license_note, variant.languages_source)))
    if "from memory" in told:
        assert variant.from_memory


@BY_ID
def test_sources_are_public(variant: Variant) -> None:
    """No number of somebody's private store: long digits, "id 123", "copy id"."""
    text = msgspec.json.encode([variant.notes, variant.scores, variant.runtimes, variant.shape_source]).decode()
    assert not re.search(r"\bids? \d{4,}|\bcopy id\b|\d{9,}|/work", text)
    assert all(score.source for score in variant.scores)


@BY_ID
def test_scores_are_points_and_comparable_ones_come_first(variant: Variant) -> None:
    assert all(0 < score.value <= 100 for score in variant.scores)
    kinds = ["primary", "secondary", "memory"]
    ranks = [kinds.index(score.source_kind) for score in variant.scores]
    assert ranks == sorted(ranks)


@BY_ID
def test_runtimes_of_phibench_are_judged(variant: Variant) -> None:
    names = [runtime.name for runtime in variant.runtimes]
    assert {"llama_cpp", "torch", "onnxruntime"} <= set(names)
    assert len(names) == len(set(names))
    assert all(runtime.note for runtime in variant.runtimes)
    if variant.shape is None:
        llama = variant.runtime("llama_cpp")
        assert llama is not None
        assert not llama.runs


@BY_ID
def test_good_at_follows_its_rule(variant: Variant) -> None:
    """docs/catalog.md, "Good at": a word must follow from the other facts."""
    base = variant.chat_template.style in ("none (base model)", "unknown", "grounding")
    rule = {
        "chat": not base and not variant.reasoning,
        "code": variant.id == "phi-1" or max(best(variant, "HumanEval"), best(variant, "HumanEvalPlus")) >= 70,
        "math": best(variant, "MATH") >= 60 or best(variant, "AIME 2025") >= 30,
        "reasoning": variant.reasoning,
        "multilingual": len(variant.languages) > 1,
        "tools": bool(variant.function_calling),
        "long-context": (variant.context_tokens or 0) >= units.tokens("64k"),
        "vision": "image" in variant.modalities_in,
        "speech": "audio" in variant.modalities_in,
    }
    assert variant.good_at == tuple(word for word, holds in rule.items() if holds)


def test_primary_sources_stand_against_the_tutorial() -> None:
    phi4, silica = catalog.variant("phi-4"), catalog.variant("phi-silica")
    assert phi4.context_tokens == 16384
    assert best(phi4, "SimpleQA") == 3.0
    assert not any(score.benchmark.startswith("AIME") for score in phi4.scores)
    assert not any(score.value == 82.5 for v in VARIANTS for score in v.scores)
    assert [word for word in ("82.5 %", "32K", "SimpleQA") if not any(word in note for note in phi4.notes)] == []
    assert any("650 tokens/s" in note for note in silica.notes)
    assert catalog.variant("phi-4-reasoning").context_tokens == 32768


# ------------------------------------------------------------------------------------------------ quantizations


def test_quantizations_agree_with_the_plans() -> None:
    table = plan_gguf.types().quantizations
    rows = catalog.quantizations("gguf")
    assert {q.id: q.ftype for q in rows} == {name: kind.ftype for name, kind in table.items()}  # a file may be any
    assert {q.ftype for q in catalog.quantizations() if q.format != "gguf"} == {None}


def test_every_format_of_the_interface_is_there() -> None:
    names = {fmt: [q.id for q in catalog.quantizations(fmt)] for fmt in ("gguf", "onnx", "torch")}
    assert set(names["onnx"]) == {"int4", "int4-acc0", "int8", "fp16", "fp32"}
    assert set(names["torch"]) == {"bf16", "fp16", "fp32", "int8", "int4"}
    assert {"F16", "Q8_0", "Q4_K_M", "Q2_K", "IQ2_M"} <= set(names["gguf"])
    assert all(len(ids) == len(set(ids)) for ids in names.values())
    assert len(catalog.quantizations()) == sum(map(len, names.values()))


def test_a_published_loss_names_its_model_and_grows_as_bits_fall() -> None:
    for row in catalog.quantizations():
        assert (row.kld is None) == (row.kld_source is None)
    family = [catalog.quantization(name).kld for name in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")]
    assert family == sorted(family, key=lambda kld: kld or 0)
    assert all("Llama-3-8B" in (q.kld_source or "") for q in catalog.quantizations("gguf") if q.kld)


@pytest.mark.parametrize(
    ("name", "fmt", "found"),
    [
        ("q4_k_m", None, ("Q4_K_M", "gguf")),
        ("Q4_K", None, ("Q4_K_M", "gguf")),
        ("BF16", None, ("BF16", "gguf")),
        ("bf16", None, ("bf16", "torch")),
        ("bf16", "gguf", ("BF16", "gguf")),
        ("BF16", "torch", ("bf16", "torch")),
        ("INT4", "torch", ("int4", "torch")),
        ("int4", "onnx", ("int4", "onnx")),
        ("int4-ACC0", None, ("int4-acc0", "onnx")),
    ],
)
def test_quantization_names(name: str, fmt: str | None, found: tuple[str, str]) -> None:
    row = catalog.quantization(name, fmt)
    assert (row.id, row.format) == found


def test_a_misspelled_quantization_names_the_nearest() -> None:
    with pytest.raises(PhibenchError, match=r"unknown quantization 'Q4_K_MM'; did you mean 'Q4_K_M'") as caught:
        catalog.quantization("Q4_K_MM", "gguf")
    assert caught.value.exit_code == 2


def test_resolve_gives_canonical_names() -> None:
    setup = units.setup("PHI-4-mini:q4_k@llama_cpp?threads=2")
    assert str(catalog.resolve(setup)) == "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu?threads=2"
    bf16 = units.setup("phi-2:BF16@torch")
    assert catalog.resolve(bf16, ["torch"]).quantization == "bf16"
    assert catalog.resolve(bf16).quantization == "BF16"
    assert catalog.resolve(catalog.resolve(setup)) == catalog.resolve(setup)


def test_resolve_refuses_a_quantization_of_another_format() -> None:
    with pytest.raises(PhibenchError, match=r"int4-acc0 is a quantization of onnx, llama_cpp opens gguf: F16"):
        catalog.resolve(units.setup("phi-4:int4-acc0@llama_cpp"), ["gguf"])


# -------------------------------------------------------------------------------------------------------- goals


@pytest.mark.parametrize("goal", catalog.goals(), ids=lambda g: g.id)
def test_a_goal_can_be_judged(goal: Goal) -> None:
    published = {score.benchmark for v in VARIANTS for score in v.scores}
    assert set(goal.benchmarks) <= published
    assert set(goal.limits) | set(goal.comfort) <= set(METRICS)
    assert set(goal.requires) <= REQUIREMENTS
    assert goal.prompt_tokens + goal.new_tokens + (goal.thinking_tokens or 0) <= goal.context
    assert goal.source
    assert catalog.goal(goal.id.upper()) is goal


@pytest.mark.parametrize(("goal", "least"), [("chat", 14), ("code", 13), ("math", 13)])
def test_most_text_variants_have_a_published_score(goal: str, least: int) -> None:
    benchmarks = set(catalog.goal(goal).benchmarks)
    text = [v for v in VARIANTS if v.modalities_in == ("text",)]
    assert sum(any(s.benchmark in benchmarks for s in v.scores) for v in text) >= least


def test_an_unknown_goal_names_the_nearest() -> None:
    with pytest.raises(PhibenchError, match=r"unknown goal 'chatt'; did you mean 'chat'\? known: batch, ") as caught:
        catalog.goal("chatt")
    assert caught.value.exit_code == 2
