"""What is offered of each variant: every row is possible, says where it is from, and the makers' own stand first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phibench import catalog
from phibench.catalog import builds, plans
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Build, Variant

VARIANTS = catalog.variants()
ALL = [build for variant in VARIANTS for build in builds.builds(variant.id)]
FOREIGN = {
    "awq", "compressed-tensors", "executorch", "fp8", "hqq", "litert-lm", "mlc", "mlx", "nvfp4", "openvino", "qnn",
    "tensorrt-rtx", "torchao", "vitisai",
}  # fmt: skip
MIXTURES = {"UD-Q4_K_XL", "dq44"}  # none of phibench's quantizations
KINDS = {"cpu", "cuda", "dml", "metal", "npu", "webgpu", "xpu"}
SIZED = [
    build
    for build in ALL
    if build.format == "gguf" and build.bytes and build.quantization not in MIXTURES
    if plans.can_plan(catalog.variant(build.variant), "gguf")
]


def told(build: Build) -> str:
    return f"{build.repository}:{build.path or build.quantization}"


def test_every_variant_has_a_file_and_every_file_a_variant() -> None:
    assert {v.id for v in VARIANTS} == {path.stem for path in (catalog.FOLDER / "builds").glob("*.toml")}
    assert [v.id for v in VARIANTS if not builds.builds(v.id)] == ["phi-silica"]


def test_builds_are_of_known_formats_quantizations_and_devices() -> None:
    for build in ALL:
        known = {q.id for q in catalog.quantizations(build.format)} if build.format in catalog.formats() else None
        assert known is not None or build.format in FOREIGN, told(build)
        assert known is None or build.quantization in known | MIXTURES, told(build)
        assert set(build.devices) <= KINDS, told(build)
        assert build.format != "onnx" or build.devices, told(build)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.id)
def test_the_makers_own_stand_first(variant: Variant) -> None:
    found = builds.builds(variant.id)
    assert [b.official for b in found] == sorted((b.official for b in found), reverse=True)
    assert all(b.official == b.publisher.startswith("Microsoft") for b in found)
    keys = [(b.repository, b.path, b.format, b.quantization, b.devices, b.note) for b in found]
    assert len(keys) == len(set(keys))


def test_a_build_says_where_it_is_and_who_says_so() -> None:
    for build in ALL:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", build.repository), told(build)
        assert build.publisher
        assert build.source
        assert not build.exact or build.bytes
        assert build.source != "from memory" or build.bytes is None, told(build)
        assert not re.search(r"\bids? \d{4,}|\bcopy id\b|/work", build.source + build.note)
        assert "{" not in (build.path or "")


@pytest.mark.parametrize("build", SIZED, ids=told)
def test_sizes_of_files_are_near_the_plans(build: Build) -> None:
    """Mixes changed between versions of llama.cpp, and sizes were rounded (docs/catalog.md, "Published files")."""
    plan = plans.plan(catalog.variant(build.variant), build.quantization, fmt="gguf")
    assert build.bytes == pytest.approx(plan.disk_bytes, rel=0.01 if build.exact else 0.06)


def test_a_checkpoint_is_offered_of_all_that_torch_opens() -> None:
    for variant in VARIANTS:
        runtime = variant.runtime("torch")
        made = {b.quantization for b in builds.builds(variant.id) if b.format == "torch"}
        runs = runtime is not None and runtime.runs
        assert made == ({"bf16", "int8", "int4"} if runs else {"bf16"} if variant.hf_repo else set()), variant.id
        assert {b.repository for b in builds.builds(variant.id) if b.format == "torch"} <= {variant.hf_repo}


@pytest.mark.parametrize(
    ("variant", "fmt", "quantization", "device", "found"),
    [
        ("phi-4", "gguf", "Q4_K_M", "cpu", "microsoft/phi-4-gguf:phi-4-Q4_K.gguf"),
        ("phi-4", "gguf", "Q4_K_M", "cuda", "microsoft/phi-4-gguf:phi-4-Q4_K.gguf"),
        ("phi-4", "gguf", "F16", "vulkan", "bartowski/phi-4-GGUF:phi-4-F16.gguf"),
        ("phi-4-mini-instruct", "onnx", "int4", "cpu",
         "microsoft/Phi-4-mini-instruct-onnx:cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4"),
        ("phi-4-mini-instruct", "onnx", "int4", "cuda", "microsoft/Phi-4-mini-instruct-onnx:gpu/gpu-int4-rtn-block-32"),
        ("phi-4-mini-instruct", "onnx", "int4", "webgpu",
         "foundry-local/phi-4-mini:Phi-4-mini-instruct-generic-gpu"),
        ("phi-4-mini-instruct", "onnx", "int4", "coreml", None),
        ("phi-3-mini-4k-instruct", "onnx", "int4-acc0", "cuda", None),
        ("phi-3-mini-4k-instruct", "onnx", "fp16", "cpu", None),
        ("phi-4-mini-instruct", "torch", "int4", "cpu", "microsoft/Phi-4-mini-instruct:int4"),
        ("phi-4-reasoning", "gguf", "UD-Q4_K_XL", "cpu",
         "unsloth/Phi-4-reasoning-GGUF:phi-4-reasoning-UD-Q4_K_XL.gguf"),
        ("phi-silica", "gguf", "Q4_K_M", "cpu", None),
        ("a-phi-that-nobody-looked-for", "gguf", "Q4_K_M", "cpu", None),
    ],
)  # fmt: skip
def test_the_first_that_suits_the_device_is_offered(
    variant: str, fmt: str, quantization: str, device: str, found: str | None
) -> None:
    build = builds.offered(variant, fmt, quantization, device)
    assert (build and told(build)) == found


def test_npus_have_packages_of_their_own() -> None:
    made = {b.format for b in ALL if "npu" in b.devices}
    assert made == {"openvino", "qnn", "vitisai"}
    assert {b.variant for b in ALL if "npu" in b.devices} >= {"phi-4-mini-instruct", "phi-4-mini-reasoning"}


def test_repositories_that_offer_a_phi_are_counted_once() -> None:
    found = builds.repositories("gguf", "Q4_K_M", "cpu")
    assert len(found) == len(set(found)) > len(builds.repositories("gguf", "Q5_1", "cpu")) > 0
    assert builds.repositories("onnx", "int8", "cpu") == ()


def test_a_misspelled_key_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[repository]]\nname = "a/b"\nformt = "gguf"\nsource = "?"\nbuilds = []\n'
    (tmp_path / "misspelled.toml").write_text(text)
    monkeypatch.setattr(builds, "_FOLDER", tmp_path)
    with pytest.raises(PhibenchError, match="did you mean 'format'"):
        builds.builds("misspelled")
