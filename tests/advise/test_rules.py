"""Each rule says why not, with the numbers; each can say that it does not know."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from fakes import GIB, machine
from hypothesis import given
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.advise import rules
from phibench.advise.case import Answer, Case, Missed, No, Perhaps, Unknown
from phibench.advise.limits import judge
from phibench.backends.contract import Backend
from phibench.core import amounts
from phibench.core.errors import PhibenchError
from phibench.core.metrics import METRICS
from phibench.core.nouns import (
    Basis,
    Build,
    Device,
    Estimate,
    Goal,
    Limits,
    Need,
    Problem,
    Setup,
    Storage,
    Training,
)

GOAL = Goal(id="test", title="Test", prompt_tokens=100, new_tokens=100, context=8192, benchmarks=())
NEED = Need(weights_bytes=3 * GIB, kv_bytes=GIB, compute_bytes=0, runtime_bytes=GIB // 4, because="test")


def estimate(value: float, low: float | None = None, high: float | None = None, basis: Basis = "probed") -> Estimate:
    return Estimate(
        value=value,
        low=value if low is None else low,
        high=value if high is None else high,
        basis=basis,
        because="test",
    )


def case(variant: str = "phi-4-mini-instruct", goal: dict[str, Any] | None = None, **changes: Any) -> Case:
    place = machine()
    plain: dict[str, Any] = {
        "machine": place,
        "device": place.devices[0],
        "goal": msgspec.structs.replace(GOAL, **(goal or {})),
        "variant": catalog.variant(variant),
        "quantization": catalog.quantization("Q4_K_M"),
        "backend": backends.load("llama_cpp"),
        "setup": Setup(variant=variant, quantization="Q4_K_M", backend="llama_cpp"),
        "estimates": {"decode_tps": estimate(10, 8, 12)},
        "need": NEED,
    }
    return Case(**(plain | changes))


def answers(asked: Case) -> list[Answer]:
    return [a for rule in rules.RULES if (a := rule(asked))]


def only(asked: Case) -> No | Unknown:
    found = answers(asked)
    assert len(found) == 1, found
    assert found[0] is not None
    return found[0]


def test_nothing_speaks_against_a_small_model_on_a_large_machine() -> None:
    assert answers(case()) == []


def test_a_backend_that_cannot_run_the_variant_is_named_with_the_catalogs_note() -> None:
    found = only(case("phi-3-small-8k-instruct", need=None, no_file="no GGUF form"))
    assert isinstance(found, No)
    assert "block-sparse attention" in str(found)


def test_whether_it_runs_may_be_unknown() -> None:
    found = only(case("phi-3.5-vision-instruct"))
    assert isinstance(found, Unknown)
    assert "not confirmed to load upstream" in str(found)


def test_a_variant_without_a_known_file_is_refused_with_the_reason() -> None:
    found = answers(case("phi-tiny-moe-instruct", need=None, no_file="no GGUF shape"))
    assert No("no GGUF shape") in found


class Engine:
    """The facts of a backend that does not exist yet."""

    KINDS = ("cuda", "npu")


def test_a_backend_says_which_devices_it_can_use() -> None:
    backend = cast("Backend", Engine())
    found = rules.knows_the_device(case(backend=backend))
    assert isinstance(found, No)
    assert "cuda, npu" in str(found)
    gpu = Device(kind="cuda:1", name="a gpu")
    assert rules.knows_the_device(case(backend=backend, device=gpu)) is None


@pytest.mark.parametrize(
    ("ability", "words", "able", "unable"),
    [
        ("reasoning", "thinking", "phi-4-reasoning", "phi-4"),
        ("function_calling", "function calling", "phi-4-mini-instruct", "phi-4"),
        ("multilingual", "languages", "phi-4-mini-instruct", "phi-2"),
        ("open_licence", "its licence", "phi-4", "phi-silica"),
    ],
)
def test_an_ability_that_the_goal_requires(ability: str, words: str, able: str, unable: str) -> None:
    goal = {"requires": (ability,), "context": 2048}
    assert rules.is_able(case(able, goal)) is None
    found = rules.is_able(case(unable, goal))
    assert isinstance(found, No)
    assert words in str(found)


def test_an_ability_nobody_documented_is_unknown() -> None:
    found = rules.is_able(case("phi-4-mini-reasoning", {"requires": ("function_calling",)}))
    assert isinstance(found, Unknown)


def test_a_backend_that_runs_only_the_text_part_cannot_see() -> None:
    goal = {"requires": ("image",)}
    found = rules.is_able(case("phi-3.5-vision-instruct", goal))
    assert isinstance(found, No)
    assert "only its text part" in str(found)
    assert rules.is_able(case("phi-3.5-vision-instruct", goal, backend=backends.load("onnxruntime"))) is None
    blind = rules.is_able(case("phi-4", goal))
    assert isinstance(blind, No)
    assert "not made for image" in str(blind)


def test_a_misspelled_ability_is_an_error_that_names_the_right_one() -> None:
    with pytest.raises(PhibenchError, match="did you mean 'reasoning'"):
        rules.is_able(case(goal={"requires": ("reasonning",)}))


def test_context_beyond_the_variants_own() -> None:
    found = rules.holds_the_context(case("phi-4", {"context": 32768}))
    assert isinstance(found, No)
    assert "32768" in str(found)
    assert "16384" in str(found)


def test_thinking_must_fit_into_the_context() -> None:
    goal = {"context": 4096, "thinking_tokens": 8192}
    found = rules.holds_the_context(case("phi-4-reasoning", goal))
    assert isinstance(found, No)
    assert "8392" in str(found)
    assert rules.holds_the_context(case("phi-4", goal)) is None  # does not think


def limited(memory_gib: float, free_gib: float) -> Any:
    limits = Limits(cpus=2, threads=2, memory_bytes=int(memory_gib * GIB), free_bytes=int(free_gib * GIB))
    return msgspec.structs.replace(machine(), limits=limits)


def test_memory_too_small_names_both_numbers_and_a_context_that_would_fit() -> None:
    longest = {"max_context_tokens": estimate(2048, basis="exact")}
    found = only(case(machine=limited(4, 4), estimates={**longest, "decode_tps": estimate(10)}))
    assert isinstance(found, No)
    assert isinstance(found, Missed)
    assert 4.25 / 4 < found.by < 1.1  # by the most that it may need
    for text in ("4.25 GiB", "4 GiB", "context of 8k", "2048 would fit"):
        assert text in str(found)


def test_memory_too_small_for_the_weights_offers_no_context() -> None:
    found = only(case(machine=limited(1, 1), estimates={"max_context_tokens": estimate(0), "decode_tps": estimate(10)}))
    assert "too little for any context" in str(found)


def test_memory_that_others_occupy() -> None:
    found = rules.fits_in_memory(case(machine=limited(16, 2)))
    assert isinstance(found, No)
    assert "close other programs" in str(found)


def test_a_gpu_needs_no_room_for_the_runtime_and_unknown_memory_is_unknown() -> None:
    large = Device(kind="cuda:0", name="a gpu", memory_bytes=5 * GIB)
    assert rules.fits_in_memory(case(device=large)) is None
    # the model's 4 GiB would fit, but what the driver takes for a process would not
    small = Device(kind="cuda:0", name="a gpu", memory_bytes=4 * GIB)
    said = rules.fits_in_memory(case(device=small))
    assert isinstance(said, Missed)
    assert said.by > 1
    assert isinstance(rules.fits_in_memory(case(device=Device(kind="cuda:0", name="a gpu"))), Unknown)


@pytest.mark.parametrize(
    ("found", "limit", "answer"),
    [
        (estimate(10, 8, 12), 7, type(None)),
        (estimate(10, 8, 12), 10, Unknown),
        (estimate(10, 8, 12), 13, No),
        (estimate(10, 8, 12, "measured"), 10, type(None)),  # the median decides
        (estimate(10, 8, 12, "measured"), 11, No),
        (None, 1, Unknown),
    ],
)
def test_speed_has_three_answers(found: Estimate | None, limit: float, answer: type) -> None:
    known = {"decode_tps": found} if found else {}
    said = rules.is_fast_enough(case(goal={"limits": {"decode_tps": limit}}, estimates=known))
    assert isinstance(said, answer)
    if isinstance(said, Unknown):
        assert said.remedy == "phibench run latency -m phi-4-mini-instruct -q Q4_K_M -b llama_cpp"
        assert "phibench" not in said.text


def test_time_is_judged_the_other_way_round() -> None:
    goal = {"limits": {"ttft_s": 5.0}}
    for span, answer in (((3, 1, 4), type(None)), ((5, 4, 6), Perhaps), ((5.5, 4, 6), Missed), ((7, 6, 9), Missed)):
        said = rules.starts_in_time(case(goal=goal, estimates={"ttft_s": estimate(*span)}))
        assert isinstance(said, answer)
        if isinstance(said, Missed | Perhaps):
            assert said.by == span[2] / 5  # at its worse end


def test_quantization_loss_above_the_limit_and_without_a_figure() -> None:
    goal = {"limits": {"quant_kld": 0.05}}
    lossy = {"quant_kld": estimate(0.3, basis="published")}
    found = rules.is_good_enough(case(goal=goal, estimates=lossy))
    assert isinstance(found, No)
    assert "0.3" in str(found)
    assert "0.05" in str(found)
    unpublished = rules.is_good_enough(case(goal=goal, estimates={}))
    assert isinstance(unpublished, Unknown)
    assert (unpublished.remedy, str(unpublished).endswith(": no published figure exists")) == ("", True)


def test_a_limit_that_phibench_cannot_estimate_is_unknown_not_ignored() -> None:
    found = rules.keeps_other_limits(case(goal={"limits": {"decode_j_per_token": 1.0}}))
    assert isinstance(found, Unknown)


def test_how_long_a_variant_thinks_is_asked_of_the_user() -> None:
    found = rules.answers_in_time(case("phi-4-reasoning", {"limits": {"answer_s": 60}}, estimates={}))
    assert isinstance(found, Unknown)
    assert "--thinking-tokens" in str(found)


def test_no_yes_to_a_speed_that_nobody_knows_but_for_training() -> None:
    assert isinstance(only(case(estimates={})), Unknown)
    training = Training(rank=16, sequence_tokens=1024, batch=1)
    gpu = Device(kind="cuda:0", name="a gpu", memory_bytes=24 * GIB)
    on: dict[str, Any] = {
        "device": gpu,
        "backend": backends.load("torch"),
        "goal": {"training": training},
        "estimates": {},
    }
    assert answers(case(**on)) == []


@pytest.mark.parametrize("kind", ["cpu", "metal"])
def test_adapters_are_trained_on_a_gpu_of_some_kinds(kind: str) -> None:
    training = Training(rank=16, sequence_tokens=1024, batch=1)
    device = Device(kind=kind, name="a device", memory_bytes=24 * GIB)
    found = rules.can_train(case(device=device, backend=backends.load("torch"), goal={"training": training}))
    assert isinstance(found, No)
    assert kind in str(found)
    assert rules.can_train(case(device=device)) is None


def test_a_variant_that_the_goal_excludes_is_refused_with_its_reason() -> None:
    found = only(case("phi-2", {"not_for": {"phi-2": "it knows no chat"}, "context": 2048}))
    assert str(found) == "Phi-2 is not for this goal: it knows no chat"
    assert not isinstance(found, Missed)


def test_a_language_that_is_asked_for() -> None:
    assert rules.speaks_the_language(case(goal={"language": "German"})) is None
    assert isinstance(rules.speaks_the_language(case("phi-4", {"language": "German"})), No)
    assert isinstance(rules.speaks_the_language(case("phi-silica", {"language": "German"})), Unknown)
    assert rules.speaks_the_language(case("phi-4")) is None


def test_the_disk_must_have_room_for_what_is_downloaded() -> None:
    def said(free_gb: float, build: Build | None = None) -> Answer:
        here = msgspec.structs.replace(machine(), storage=Storage(free_bytes=int(free_gb * 1e9)))
        return rules.fits_on_disk(case(machine=here, build=build, estimates={"disk_bytes": estimate(2.5e9)}))

    assert said(2.6) is None
    found = said(2)
    assert isinstance(found, Missed)
    assert "its files take 2.5 GB, the disk has 2 GB left" in str(found)
    folder = Build(
        variant="x", quantization="int4", format="onnx", publisher="x", repository="x/y", bytes=5 * 10**9, source="x"
    )
    assert isinstance(said(2.6, folder), Missed)  # encoders and all
    assert rules.fits_on_disk(case(estimates={"disk_bytes": estimate(2.5e9)})) is None  # described: nobody knows


def test_a_device_whose_driver_does_not_let_it_be_used() -> None:
    problem = Problem(kind="unusable", evidence="no driver", remedy="install one")
    broken = Device(kind="cuda:0", name="a gpu", problems=(problem,))
    assert str(rules.knows_the_device(case(device=broken))) == "cuda:0 cannot be used here: no driver: install one"


def test_every_rule_says_what_it_asks() -> None:
    assert all(rule.__doc__ for rule in rules.RULES)
    assert len(set(rules.RULES)) == len(rules.RULES)


@given(
    st.sampled_from(["decode_tps", "ttft_s"]), st.floats(0.01, 1e3), st.floats(1, 4), st.floats(0.01, 1e3),
    st.floats(1, 4), st.sampled_from(["measured", "calibrated", "probed", "spec", "assumed"]),
)  # fmt: skip
def test_a_stricter_limit_never_turns_into_a_yes(
    metric: str, value: float, spread: float, limit: float, stricter: float, basis: Basis
) -> None:
    found = estimate(value, value / spread, value * spread, basis)
    strict = limit * stricter if METRICS[metric].better == "higher" else limit / stricter
    order = {True: 0, None: 1, False: 2}
    assert order[judge(metric, found, limit)] <= order[judge(metric, found, strict)]


# ---------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("basis", "text"),
    [
        ("measured", "9.12"),
        ("calibrated", "~9.1 (7.9–10)"),
        ("probed", "~9.1 (7.9–10)"),
        ("spec", "~9.1 (7.9–10)"),
        ("assumed", "~9.1 (7.9–10) assumed"),
    ],
)
def test_an_estimate_never_looks_like_a_measurement(basis: Basis, text: str) -> None:
    assert amounts.shown("decode_tps", estimate(9.123, 7.86, 10.46, basis)) == text


def test_a_unit_is_told_once_in_a_range() -> None:
    assert amounts.shown("ttft_s", estimate(6.2, 5.4, 7.1)) == "~6.2 s (5.4–7.1 s)"
    assert amounts.shown("ttft_s", estimate(80, 50, 200)) == "~80 s (50 s–3 min 20 s)"


@pytest.mark.parametrize(
    ("metric", "value", "digits", "text"),
    [
        ("decode_tps", 1234.5, 2, "1200"),
        ("decode_tps", 0.2345, 2, "0.23"),
        ("ttft_s", 6.23, 2, "6.2 s"),
        ("ttft_s", 187.0, 3, "3 min 7 s"),
        ("host_needed_bytes", 4.25 * GIB, 3, "4.25 GiB"),
        ("device_peak_bytes", 4.25 * GIB, 3, "4.25 GiB"),
        ("disk_bytes", 2.49e9, 3, "2.49 GB"),
        ("quality", 52.8, 3, "52.8"),
        ("quant_kld", 0.031273, 3, "0.0313"),
        ("decode_tps", 0.0, 3, "0"),
    ],
)
def test_amounts(metric: str, value: float, digits: int, text: str) -> None:
    assert amounts.amount(metric, value, digits) == text


def test_the_command_names_the_device_where_it_is_not_the_cpu() -> None:
    setup = Setup(variant="phi-4", quantization="Q8_0", backend="llama_cpp", device="cuda:0")
    assert rules.command(setup).endswith("-m phi-4 -q Q8_0 -b llama_cpp -dev cuda:0")
