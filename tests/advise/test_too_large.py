"""Where a model is too large for a GPU: the no, and beside it the split that fits."""

from __future__ import annotations

import pytest
from fakes import GIB

from phibench import catalog
from phibench.advise import recommend, rules
from phibench.core.nouns import Device, Limits, Machine, Verdict

PLACE = Machine(
    name="a desktop", os="linux", arch="x86_64", physical_cores=8, logical_cores=16, memory_bytes=32 * GIB,
    devices=(
        Device(kind="cpu", name="a cpu", read_bytes_s=50e9, flops_s=1e12, basis="spec"),
        Device(kind="cuda:0", name="a gpu", memory_bytes=6 * GIB, read_bytes_s=336e9, flops_s=25e12, basis="spec"),
    ),
    limits=Limits(cpus=8, threads=8, memory_bytes=32 * GIB, free_bytes=32 * GIB),
)  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, Verdict]:
    some = tuple(q for q in catalog.quantizations("gguf") if q.id == "Q4_K_M")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "quantizations", lambda fmt=None: some if fmt == "gguf" else ())
        return {str(v.setup): v for v in recommend.advise(PLACE, catalog.goal("chat"), ())}


def split_of(found: dict[str, Verdict], setup: str) -> Verdict | None:
    same = [verdict for name, verdict in found.items() if name.startswith(f"{setup}?")]
    assert len(same) <= 1
    return same[0] if same else None


def test_the_split_stands_beside_the_no(found: dict[str, Verdict]) -> None:
    whole, split = found["phi-4:Q4_K_M@llama_cpp/cuda:0"], split_of(found, "phi-4:Q4_K_M@llama_cpp/cuda:0")
    assert whole.verdict == "no"
    assert split is not None
    assert split.verdict != "no"
    device, host = split.estimates["device_peak_bytes"], split.estimates["host_needed_bytes"]
    assert device.high <= 6 * GIB
    assert host.value > 2 * GIB
    on_cpu = found["phi-4:Q4_K_M@llama_cpp/cpu"].estimates["decode_tps"]
    assert on_cpu.value < split.estimates["decode_tps"].value < whole.estimates["decode_tps"].value
    layers = dict(split.setup.options)["n_gpu_layers"]
    assert rules.command(split.setup).endswith(f"-dev cuda:0 --backend-option n_gpu_layers={layers}")


def test_a_mixture_leaves_experts_on_the_host(found: dict[str, Verdict]) -> None:
    split = split_of(found, "phi-3.5-moe-instruct:Q4_K_M@llama_cpp/cuda:0")
    assert split is not None
    assert dict(split.setup.options).keys() == {"n_cpu_moe"}


def test_nothing_is_split_that_fits_or_that_something_else_speaks_against(found: dict[str, Verdict]) -> None:
    assert split_of(found, "phi-4-mini-instruct:Q4_K_M@llama_cpp/cuda:0") is None
    for name, verdict in found.items():
        if verdict.setup.options:
            whole = found[name.partition("?")[0]]
            assert whole.verdict != "yes"
            assert verdict.overflows < whole.overflows  # what is left are limits
