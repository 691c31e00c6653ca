"""What nouns promise: identity, names of folders, the grid, three answers."""

from __future__ import annotations

import re

import msgspec
import pytest
from fakes import GIB, machine
from hypothesis import given
from hypothesis import strategies as st

from phibench.core import nouns
from phibench.core.errors import BAD_INPUT, nearest, unknown
from phibench.core.nouns import Device, Estimate, Limits, Need, Reason, Sample, Setup, Suite, Verdict, Workload

replace = msgspec.structs.replace


@pytest.mark.parametrize("options", [(), (("a", "1"), ("b", "2"))])
def test_a_setup_is_its_model_at_its_place(options: tuple[tuple[str, str], ...]) -> None:
    setup = Setup(variant="phi-4", quantization="Q8_0", backend="torch", device="cuda:1", options=options)
    assert setup.model == "phi-4:Q8_0"
    assert setup.place == "torch/cuda:1" + ("?a=1&b=2" if options else "")
    assert str(setup) == f"{setup.model}@{setup.place}"


@given(st.text(min_size=1, max_size=30), st.floats(1e9, 1e12), st.integers(0, 24 * GIB))
def test_identity_ignores_names_and_what_was_measured(name: str, rate: float, free: int) -> None:
    here = machine()
    cpu = replace(here.devices[0], read_bytes_s=rate, flops_s=rate, basis="probed")
    limits = replace(here.limits, free_bytes=free, notes=(name,))
    other = replace(here, name=name, devices=(cpu,), limits=limits)
    assert other.identity == here.identity
    assert other.slug == here.slug


def test_identity_forgives_bytes_that_the_kernel_keeps() -> None:
    here = machine()
    assert replace(here, memory_bytes=here.memory_bytes - 100_000).identity == here.identity


@pytest.mark.parametrize(
    "change",
    [{"os": "windows"}, {"arch": "arm64"}, {"physical_cores": 4}, {"logical_cores": 4}, {"memory_bytes": 32 * GIB},
     {"devices": (Device(kind="cpu", name="other"),)},
     {"devices": (*machine().devices, Device(kind="cuda:0", name="H200"))},
     {"limits": Limits(cpus=1.0, threads=2, memory_bytes=24 * GIB, free_bytes=0)},
     {"limits": Limits(cpus=2.0, threads=2, memory_bytes=8 * GIB, free_bytes=0)}],
)  # fmt: skip
def test_identity_sees_hardware_and_limits(change: dict[str, object]) -> None:
    here = machine()
    other = replace(here, **change)
    assert other.identity != here.identity
    assert other.slug != here.slug


@given(st.text(max_size=60), st.text(min_size=3, max_size=20))
def test_a_slug_is_a_safe_folder_name_without_the_machines_name(cpu: str, name: str) -> None:
    slug = machine(name=name, cpu=cpu).slug
    assert re.fullmatch(r"[a-z0-9_-]+-2cpu-24gib-[0-9a-f]{6}", slug)
    assert slug == machine(name="another", cpu=cpu).slug


def test_a_machine_without_devices_has_a_slug() -> None:
    assert replace(machine(), devices=()).slug.startswith("x86-64-2cpu-24gib-")


def test_a_machine_knows_its_devices_by_kind() -> None:
    assert machine().device("cpu") == machine().devices[0]
    assert machine().device("cuda:0") is None


def test_the_grid_is_prompts_then_new_tokens_then_pairs_at_every_depth() -> None:
    suite = Suite(name="s", question="?", metrics=(), prompt_tokens=(512, 0), new_tokens=(0, 128), pairs=((64, 16),),
                  depths=(0, 4096))  # fmt: skip
    texts = [str(work) for work in suite.workloads()]
    assert texts == ["pp512", "tg128", "pp64+tg16", "pp512 @ d4096", "tg128 @ d4096", "pp64+tg16 @ d4096"]


@pytest.mark.parametrize(
    ("work", "text", "context"),
    [(Workload(prompt_tokens=512, new_tokens=0), "pp512", 512),
     (Workload(prompt_tokens=0, new_tokens=128, depth=4096), "tg128 @ d4096", 4224),
     (Workload(prompt_tokens=512, new_tokens=128, batch=4), "pp512+tg128 x4", 640)],
)  # fmt: skip
def test_a_workload_is_named_as_llama_bench_names_it(work: Workload, text: str, context: int) -> None:
    assert str(work) == text
    assert work.context == context


def test_setups_and_workloads_are_keys_and_sort() -> None:
    setups = [Setup(variant=v, quantization="q", backend="b") for v in ("b", "a", "b")]
    assert sorted(set(setups))[0].variant == "a"
    assert len(set(setups)) == 2


def test_nouns_are_frozen() -> None:
    with pytest.raises(AttributeError):
        machine().name = "x"  # type: ignore[misc]


def test_a_need_adds_up() -> None:
    need = Need(weights_bytes=1, kv_bytes=2, compute_bytes=3, runtime_bytes=4, because="")
    assert need.total_bytes == 10


def test_a_verdict_has_three_answers_and_no_beats_unknown() -> None:
    setup = Setup(variant="v", quantization="q", backend="b")
    fast = {"decode_tps": Estimate(value=1, low=1, high=1, basis="measured", because="")}
    assert Verdict(setup=setup, estimates=fast).verdict == "yes"
    assert Verdict(setup=setup, unknowns=(Reason("?"),)).verdict == "unknown"
    assert Verdict(setup=setup, unknowns=(Reason("?"),), objections=("no",)).verdict == "no"


@pytest.mark.parametrize("arrival", [-1.0, 2e9])
def test_a_time_that_cannot_be_is_no_sample(arrival: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"arrivals_s": [arrival]}, Sample)


def test_a_misspelled_name_gets_the_nearest_right_one() -> None:
    known = ("Q4_K_M", "Q8_0", "F16")
    assert nearest("q4km", known) == "Q4_K_M"
    assert nearest("zzzzzz", known) is None
    error = unknown("quantization", "q4km", known, "see phibench models")
    assert str(error) == "unknown quantization 'q4km'; did you mean 'Q4_K_M'? see phibench models"
    assert error.exit_code == BAD_INPUT
    assert "did you mean" not in str(unknown("quantization", "zzzzzz", known, "see phibench models"))


def test_the_schema_number_is_in_every_run_file() -> None:
    """omit_defaults leaves out what equals its default: the schema must stay."""
    from fakes import run

    assert msgspec.json.decode(msgspec.json.encode(run()))["schema"] == nouns.SCHEMA
