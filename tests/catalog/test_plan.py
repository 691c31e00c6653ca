from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny

from phibench import catalog
from phibench.catalog import plans, tensor_types
from phibench.catalog.plans import base
from phibench.catalog.plans import gguf as plan_gguf
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Variant

PLANNABLE = [v for v in catalog.variants() if plans.can_plan(v, "gguf")]
TEXT_ONLY = [v for v in PLANNABLE if v.modalities_in == ("text",)]
QUANTIZATIONS = tuple(plan_gguf.types().quantizations)
NO_PHI = {"TQ1_0", "TQ2_0", "Q1_0", "Q2_0", "NVFP4", "MXFP4_MOE"}  # for models trained in them
variants = st.sampled_from(PLANNABLE)
quantizations = st.sampled_from(QUANTIZATIONS)

# Files on Hugging Face: microsoft/Phi-3-mini-4k-instruct-gguf, bartowski/phi-4-GGUF (exact bytes, or the
# repository's table, rounded to 0.01 GB) and a Phi-4-mini-instruct of 2025.
PUBLISHED = [
    ("phi-3-mini-4k-instruct", "Q4_K_M", 2_393_231_072),
    ("phi-4-mini-instruct", "Q4_K_M", 2_491_874_272),
    ("phi-4", "Q4_K_M", 9_053_114_816),
    ("phi-4", "Q8_0", 15_580_000_000),
    ("phi-4", "Q6_K", 12_030_000_000),
    ("phi-4", "Q4_0", 8_410_000_000),
]


def named(plan: base.Plan) -> dict[str, tensor_types.Tensor]:
    return {tensor.name: tensor for tensor in plan.tensors}


@pytest.mark.parametrize("variant", TEXT_ONLY, ids=lambda v: v.id)
def test_parameters_are_those_of_the_model_card(variant: Variant) -> None:
    assert plans.plan(variant, "Q4_K_M", fmt="gguf").parameters == variant.parameters


@pytest.mark.parametrize(("name", "quantization", "published"), PUBLISHED)
def test_disk_bytes_are_those_of_published_files(name: str, quantization: str, published: int) -> None:
    plan = plans.plan(catalog.variant(name), quantization, fmt="gguf")
    assert plan.disk_bytes == pytest.approx(published, rel=0.005)


def test_an_older_mix_explains_the_published_q5_k_m() -> None:
    """bartowski's phi-4 Q5_K_M (10.60 GB, early 2025) has every attn_qkv in Q6_K; today's llama.cpp only half."""
    plan = plans.plan(catalog.variant("phi-4"), "Q5_K_M", fmt="gguf")
    older = [
        tensor_types.tensor(t.name, t.shape, "Q6_K") if t.name.endswith("attn_qkv.weight") else t for t in plan.tensors
    ]
    assert plan.disk_bytes == pytest.approx(10.60e9, rel=0.01)
    grown = sum(t.bytes for t in older) - plan.weights_bytes
    assert plan.disk_bytes + grown == pytest.approx(10.60e9, rel=0.0006)


def test_phi_4_mini_in_q4_k_m() -> None:
    """2,485,589,376 bytes of tensors, as llama.cpp's own quantizer makes them."""
    plan = plans.plan(catalog.variant("phi-4-mini-instruct"), "Q4_K_M", fmt="gguf")
    assert plan.weights_bytes == 2_485_589_376
    assert plan.histogram == {"Q4_K": 96, "Q6_K": 33, "F32": 67}
    assert plan.file_bytes - plan.weights_bytes == len(plan_gguf.header(plan))
    assert named(plan)["token_embd.weight"].type == "Q6_K"  # tied: it is the head too
    assert named(plan)["rope_factors_long.weight"].shape == (48,)


@given(variants, quantizations)
def test_file_bytes_are_header_and_padded_data(variant: Variant, quantization: str) -> None:
    plan = plans.plan(variant, quantization, fmt="gguf")
    assert plan.file_bytes == len(plan_gguf.header(plan)) + sum(-(-t.bytes // 32) * 32 for t in plan.tensors)
    assert len(plan_gguf.header(plan)) % 32 == 0


@given(variants, quantizations)
def test_every_row_is_whole_blocks(variant: Variant, quantization: str) -> None:
    for tensor in plans.plan(variant, quantization, fmt="gguf").tensors:
        kind = tensor_types.TYPES[tensor.type]
        assert tensor.shape[0] % kind.block == 0
        assert tensor.bytes * kind.block == math.prod(tensor.shape) * kind.block_bytes


@given(variants, quantizations, st.data())
def test_a_slice_has_the_true_widths_and_types_of_spread_layers(
    variant: Variant, quantization: str, data: st.DataObject
) -> None:
    whole = plans.plan(variant, quantization, fmt="gguf")
    layers = data.draw(st.integers(1, whole.of_layers))
    part = plans.plan(variant, quantization, layers, fmt="gguf")
    assert (part.layers, part.of_layers) == (layers, whole.of_layers)
    full, sliced = named(whole), named(part)
    taken = []
    for layer in range(layers):
        kinds = {n.split(".", 2)[2]: (t.shape, t.type) for n, t in sliced.items() if n.startswith(f"blk.{layer}.")}
        source = (2 * layer + 1) * whole.of_layers // (2 * layers)
        taken.append(source)
        assert kinds == {
            n.split(".", 2)[2]: (t.shape, t.type) for n, t in full.items() if n.startswith(f"blk.{source}.")
        }
    assert taken == sorted(set(taken))
    outside = {n: t for n, t in full.items() if not n.startswith("blk.")}
    assert outside == {n: t for n, t in sliced.items() if not n.startswith("blk.")}
    assert part.weights_bytes <= whole.weights_bytes
    assert (part == whole) == (layers == whole.of_layers)


def test_decode_reads_the_embedding_only_when_it_is_the_head() -> None:
    tied = plans.plan(catalog.variant("phi-4-mini-instruct"), "Q4_K_M", fmt="gguf")
    assert tied.read_bytes_per_token == tied.weights_bytes
    untied = plans.plan(catalog.variant("phi-4"), "Q4_K_M", fmt="gguf")
    assert untied.read_bytes_per_token == untied.weights_bytes - named(untied)["token_embd.weight"].bytes


def test_decode_reads_two_of_sixteen_experts() -> None:
    plan = plans.plan(catalog.variant("phi-3.5-moe-instruct"), "Q4_K_M", fmt="gguf")
    experts = sum(t.bytes for t in plan.tensors if "_exps" in t.name)
    rest = plan.weights_bytes - experts - named(plan)["token_embd.weight"].bytes
    assert plan.read_bytes_per_token == rest + experts / 8


def test_rows_that_are_not_whole_blocks_of_256_fall_back() -> None:
    """Phi-mini-MoE's experts are 960 wide: llama.cpp takes Q5_0 for Q4_K and Q8_0 for Q6_K there."""
    plan = plans.plan(catalog.variant("phi-mini-moe-instruct"), "Q4_K_M", fmt="gguf")
    down = {t.type for t in plan.tensors if "ffn_down_exps" in t.name}
    assert down == {"Q5_0", "Q8_0"}


def test_catalog_and_table_agree() -> None:
    for row in catalog.quantizations("gguf"):
        kind = plan_gguf.types().quantizations[row.id]
        assert kind.ftype == row.ftype
        assert kind.imatrix or not row.imatrix
    assert plan_gguf.TYPES_FILE.stat().st_size < 150_000


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("phi-silica", "no GGUF form"),
        ("phi-3-small-8k-instruct", "no GGUF form"),
        ("phi-tiny-moe-instruct", "no confirmed GGUF shape"),
    ],
)
def test_variants_without_a_gguf_say_why(name: str, why: str) -> None:
    variant = catalog.variant(name)
    assert not plans.can_plan(variant, "gguf")
    with pytest.raises(PhibenchError, match=why):
        plans.plan(variant, "Q4_K_M", fmt="gguf")


def test_bad_input_names_the_remedy() -> None:
    variant = catalog.variant("phi-4")
    with pytest.raises(PhibenchError, match="did you mean 'Q4_K_M'"):
        plans.plan(variant, "Q4_KM", fmt="gguf")
    for layers in (0, 41, -1):
        with pytest.raises(PhibenchError, match="1 to 40"):
            plans.plan(variant, "Q4_K_M", layers, fmt="gguf")


@pytest.mark.parametrize(("change", "why"), [({"layers": 39}, "make types"), ({"head_dim": 64}, "40 x 64 = 2560")])
def test_a_shape_nobody_asked_for_is_not_guessed(change: dict[str, int], why: str) -> None:
    known = catalog.variant("phi-4")
    assert known.shape is not None
    shape = msgspec.structs.replace(known.shape, **change)
    with pytest.raises(PhibenchError, match=why):
        plans.plan(msgspec.structs.replace(known, shape=shape), "Q4_K_M", fmt="gguf")


def test_a_quantizer_that_hangs_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from phibench.synth import gguf_types

    monkeypatch.setattr(gguf_types, "_LIMIT_S", 0.001)
    shape = tiny("phi-4").shape
    assert shape is not None
    with pytest.raises(PhibenchError, match="quantizer gave no answer in 1 ms, when asked about"):
        gguf_types.ask(shape, {})


@pytest.mark.engine("llama_cpp")
def test_types_are_those_of_the_installed_llama_cpp() -> None:
    from phibench.synth import gguf_types

    shapes = [v.shape for v in PLANNABLE if v.shape]
    fresh = gguf_types.generate(shapes)
    assert gguf_types.offered().keys() - fresh.quantizations.keys() == NO_PHI
    assert fresh.mixes == plan_gguf.types().mixes, "llama.cpp's mixes have changed: make types"
    recorded = msgspec.structs.replace(fresh, llama_cpp_python=plan_gguf.types().llama_cpp_python)
    assert gguf_types.encode(recorded) == plan_gguf.TYPES_FILE.read_bytes()


def test_what_is_asked_once_is_made_once_and_is_no_part_of_a_plan() -> None:
    plan, other = (
        msgspec.structs.replace(plans.plan(catalog.variant("phi-2"), "Q4_K_M", fmt="gguf")) for _ in range(2)
    )
    made = iter((7, 8, 9))
    assert [plan.once(("key", 1), lambda: next(made)) for _ in range(2)] == [7, 7]
    assert plan.once(("key", 2), lambda: next(made)) == 8
    assert plan == other
    assert msgspec.structs.replace(plan).once(("key", 1), lambda: next(made)) == 9
