"""``phibench models``: rows for programs, pages for people, and sizes that published files confirm."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from phibench import catalog
from phibench.catalog import plans, tensor_types
from phibench.catalog.plans import gguf as plan_gguf
from phibench.core.errors import PhibenchError
from phibench.show import models

Row = models.Row

# Published files. Exact sizes: the microsoft and bartowski repositories on Hugging Face; the others are the table
# of bartowski/phi-4-GGUF, rounded there to 0.01 GB.
PUBLISHED = [
    ("phi-3-mini-4k-instruct", "Q4_K_M", 2_393_231_072),  # microsoft/Phi-3-mini-4k-instruct-gguf, -q4.gguf
    ("phi-4-mini-instruct", "Q4_K_M", 2_491_874_272),  # of 2025
    ("phi-4", "Q4_K_M", 9_053_114_816),  # bartowski/phi-4-GGUF
    ("phi-4", "Q8_0", 15_580_000_000),
    ("phi-4", "Q6_K", 12_030_000_000),
    ("phi-4", "Q5_K_M", 10_600_000_000),
    ("phi-4", "Q4_0", 8_410_000_000),
]


# What llama.cpp chose when these files were made (2024 to early 2025, src/llama-quant.cpp at c392e509): it raised
# the fused attn_qkv in every layer, today in half of them; with an importance matrix Q4_0 raised the first ffn_down.
def old_type(quantization: str, role: str, layer: int | None, layers: int) -> str | None:
    if role == "attn_qkv":
        return {"Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}.get(quantization)
    first = layer is not None and layer < layers // 8
    return "Q4_1" if quantization == "Q4_0" and role == "ffn_down" and first else None


def one(rows: list[Row], variant: str, quantization: str) -> Row:
    (row,) = [r for r in rows if (r["variant"], r["quantization"], r["format"]) == (variant, quantization, "gguf")]
    return row


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return models.model_rows(catalog.variants())


@pytest.mark.parametrize(("variant", "quantization", "published"), PUBLISHED)
def test_disk_bytes_agree_with_published_files(variant: str, quantization: str, published: int) -> None:
    found = models.model_rows([catalog.variant(variant)])
    disk = one(found, variant, quantization)["disk_bytes"]
    if quantization == "Q5_K_M":  # the one that today's mix moves by more than 0.5 %: explained below
        assert disk == pytest.approx(published, rel=0.01)
    else:
        assert disk == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(("variant", "quantization", "published"), PUBLISHED)
def test_with_the_mix_of_their_time_files_agree_closely(variant: str, quantization: str, published: int) -> None:
    plan = plans.plan(catalog.variant(variant), quantization, fmt="gguf")
    disk = plan.disk_bytes
    for tensor in plan.tensors:
        kind = old_type(quantization, *plan_gguf.role_of(tensor.name), plan.of_layers)
        if kind:
            disk += tensor_types.tensor(tensor.name, tensor.shape, kind).bytes - tensor.bytes
    assert disk == pytest.approx(published, rel=0.0005)


def test_one_row_per_variant_quantization_and_format(rows: list[Row]) -> None:
    keys = [(row["variant"], row["quantization"], row["format"]) for row in rows]
    assert len(keys) == len(set(keys)) == len(catalog.variants()) * len(catalog.quantizations())
    assert {"weights_bytes", "disk_bytes", "kv_bytes_per_token", "kv_bytes", "context", "license"} <= set(rows[0])


def test_unknown_is_none_with_its_reason(rows: list[Row]) -> None:
    for row in rows:
        assert (row["disk_bytes"] is None) == (row["weights_bytes"] is None) == (row["reason"] is not None)
    silica = one(rows, "phi-silica", "Q4_K_M")
    assert silica["kv_bytes"] is None
    assert "undisclosed" in silica["reason"]
    assert silica["runs"] is False
    flash = one(rows, "phi-4-mini-flash-reasoning", "Q4_K_M")
    assert flash["kv_bytes_per_token"] == 5120
    assert flash["kv_bytes"] is None  # its local layers and states come on top


def test_kv_cache_at_a_context() -> None:
    phi2, mini = catalog.variant("phi-2"), catalog.variant("phi-4-mini")
    default = models.overview_rows([phi2, mini])
    assert [(r["context"], r["kv_bytes"]) for r in default] == [(2048, 2048 * 327_680), (8192, 8192 * 131_072)]
    asked = models.overview_rows([phi2, mini], 4096)
    assert [(r["context"], r["kv_bytes"]) for r in asked] == [(4096, None), (4096, 4096 * 131_072)]


@pytest.mark.parametrize(
    ("name", "context", "message"),
    [
        ("phi-4", 10 << 20, r"--context 10485760 is too long: phi-4 reads at most 16384 tokens \(16k\)"),
        (None, 10 << 20, "no Phi reads more than 131072 tokens"),
        ("phi-4", 0, "--context 0 holds no token"),
        (None, -1, "--context -1 holds no token"),
    ],
)
def test_an_impossible_context_is_refused(name: str | None, context: int, message: str) -> None:
    with pytest.raises(PhibenchError, match=message) as caught:
        models.text(name, context, "table")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("width", [80, 120, 200])
def test_overview_shows_every_variant_within_the_width(width: int) -> None:
    text = models.text(None, None, "table", width)
    assert max(map(len, text.splitlines())) <= width
    squeezed = "".join(text.split())
    for variant in catalog.variants():
        assert variant.id.removesuffix("-instruct")[:16] in squeezed
    assert "Licence: MIT" in text
    assert "2.49 GB*" in text  # Phi-4-multimodal: the text tower alone
    assert "multilingual" in text
    assert ("1 GiB at 8k" in text, "1 GiB" in text) == (width > 120, True)


def test_page_of_a_variant_shows_facts_with_sources() -> None:
    text = models.text("Phi-4-mini", None, "table", 160)
    for word in (q.id for q in catalog.quantizations("gguf")):
        assert word in text
    for word in ("131072 bytes per token", "Hugging Face model card", "from memory", "onnxruntime", "2.49 GB", "MIT"):
        assert word in text


def test_page_of_a_variant_without_a_shape() -> None:
    text = models.text("phi-silica", None, "table", 100)
    assert "650 tokens/s" in text
    assert "Q4_K_M" not in text


def test_forms_for_programs() -> None:
    data = json.loads(models.text("phi-2", 1024, "json"))
    assert {row["variant"] for row in data} == {"phi-2"}
    assert one(data, "phi-2", "Q4_K_M")["kv_bytes"] == 1024 * 327_680
    head, *lines = models.text("phi-2", None, "csv").splitlines()
    assert head.startswith("variant,quantization,format")
    assert len(lines) == len(data)
    assert models.text(None, None, "md").startswith("| variant")
    assert "| MIT" in models.text(None, None, "md")


def test_listing_needs_no_heavy_package() -> None:
    code = (
        "import sys; from phibench.show import models as listing; listing.text(None, None, 'json'); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "llama_cpp", "pandas", "onnxruntime", "http.client"} & set(loaded)
