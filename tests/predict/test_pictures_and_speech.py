"""Pictures and speech in a goal: tokens in the prompt, the encoder's seconds and memory, the first token after it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fakes import GIB, machine
from hypothesis import given
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.catalog import media as facts
from phibench.core.nouns import Device, Estimate, Goal, Machine, Setup
from phibench.predict import costs, media, predictions
from phibench.predict.speed import Knowledge

SEES = Setup(variant="phi-4-multimodal-instruct", quantization="Q4_K_M", backend="llama_cpp")
PHI4 = catalog.variant(SEES.variant)
VISION = catalog.goal("vision")
CPU = Device(kind="cpu", name="a cpu", read_bytes_s=24e9, basis="probed", matrix_flops_s={"float32": 105e9})


def here(**changes: Any) -> Machine:
    return msgspec.structs.replace(machine(), devices=(msgspec.structs.replace(CPU, **changes),))


def goal(**changes: Any) -> Goal:
    return msgspec.structs.replace(VISION, **changes)


def estimates(asked: Goal, place: Machine | None = None, setup: Setup = SEES) -> dict[str, Estimate]:
    place = place or here()
    variant, sheet = catalog.variant(setup.variant), costs.cost_sheet(setup)
    whole = media.with_tokens(asked, variant)
    need = backends.load(setup.backend).need(sheet.plan, sheet.shape, whole.context, {}, whole.prompt_tokens)
    need = media.with_encoder(need, asked, variant, place.devices[0])
    quantization = catalog.quantization(setup.quantization)
    return predictions.estimates(Knowledge(place), whole, setup, quantization, need)


def test_a_picture_counts_in_the_prompt_of_who_sees_it() -> None:
    assert media.with_tokens(VISION, PHI4).prompt_tokens == VISION.prompt_tokens + 2625
    assert media.with_tokens(VISION, catalog.variant("phi-4")).prompt_tokens == VISION.prompt_tokens
    spoken = catalog.goal("speech")
    assert media.with_tokens(spoken, PHI4).prompt_tokens == spoken.prompt_tokens + 375


@pytest.mark.parametrize(
    ("asked", "metric", "seconds"),
    [
        ({"images": ("448x448",)}, "image_encode_s", (19.2, 21.8)),  # two crops, each 9.6 to 10.9 s
        ({"images": ("1344x1344",)}, "image_encode_s", (95, 110)),
        ({"images": (), "audio_s": 30.0}, "audio_encode_s", (4.7, 4.7)),
        ({"images": (), "audio_s": 5.0}, "audio_encode_s", (1.31, 1.31)),
    ],
)
def test_seen_times_lie_inside_the_interval(asked: dict[str, Any], metric: str, seconds: tuple[float, float]) -> None:
    """As PyTorch took in float32 where a product reached 97 to 114 GFLOP/s."""
    found = estimates(goal(**asked))[metric]
    assert found.basis == "probed"
    assert found.low < seconds[0]
    assert seconds[1] < found.high
    assert found.value == pytest.approx(sum(seconds) / 2, rel=0.15)


def test_the_first_token_waits_for_the_encoder() -> None:
    found, text = estimates(VISION), estimates(goal(images=(), prompt_tokens=VISION.prompt_tokens + 2625))
    for end in ("low", "value", "high"):
        both = getattr(found["image_encode_s"], end) + getattr(text["ttft_s"], end)
        assert getattr(found["ttft_s"], end) == pytest.approx(both)
        answer = getattr(found["image_encode_s"], end) + getattr(text["answer_s"], end)
        assert getattr(found["answer_s"], end) == pytest.approx(answer)
    assert found["image_tokens"].value == 2625
    assert found["decode_tps"].value == text["decode_tps"].value


def test_speech_has_a_real_time_factor() -> None:
    found = estimates(catalog.goal("speech"))
    assert found["audio_tokens"].value == 375
    assert found["rtf"].value == pytest.approx(found["audio_encode_s"].value / 30)
    assert "rtf" not in estimates(VISION)


def test_an_encoder_of_unknown_speed_leaves_no_time_to_the_first_token() -> None:
    found = estimates(VISION, here(matrix_flops_s={}))
    assert found["image_tokens"].value == 2625
    assert "decode_tps" in found
    assert not {"image_encode_s", "ttft_s", "answer_s"} & found.keys()


def test_an_encoder_rests_on_a_doubted_rate_as_a_prompt_does() -> None:
    """It can be faster than what was seen, and its time is the reason for no "no"."""
    sure = estimates(VISION)
    off = estimates(VISION, here(matrix_doubt="its threads waited", most_matrix_flops_s={"float32": 210e9}))
    seen, doubted = sure["image_encode_s"], off["image_encode_s"]
    assert (doubted.high, doubted.low) == pytest.approx((seen.high, seen.low / 2))
    for metric in ("image_encode_s", "ttft_s", "answer_s"):
        assert off[metric].doubt == "matrix rate its threads waited"
        assert not sure[metric].doubt


def test_the_encoder_takes_memory() -> None:
    plain, seeing = estimates(goal(images=())), estimates(VISION)
    weights = facts.image(SEES.variant, 1344, 1344).parameters * 4
    assert seeing["weights_bytes"].value - plain["weights_bytes"].value == weights
    assert seeing["host_needed_bytes"].value - plain["host_needed_bytes"].value > weights
    half = estimates(VISION, here(matrix_flops_s={"float32": 1e11, "bfloat16": 4e11}))
    assert half["weights_bytes"].value - plain["weights_bytes"].value == weights / 2


@given(st.floats(1e10, 1e15), st.floats(1, 100), st.sampled_from(["cpu", "cuda:0"]))
def test_a_faster_device_never_encodes_slower(rate: float, more: float, kind: str) -> None:
    spans = []
    for flops in (rate, rate * more):
        device = Device(kind=kind, name="x", memory_bytes=8 * GIB, flops_s=flops, basis="spec")
        found = media.estimates(VISION, PHI4, device, {})["image_encode_s"]
        assert found.low <= found.value <= found.high
        spans.append(found)
    assert spans[1].low <= spans[0].low
    assert spans[1].high <= spans[0].high


@given(st.floats(1, 1800), st.floats(0, 1800))
def test_longer_speech_never_takes_less(seconds: float, more: float) -> None:
    short, long = (media.estimates(goal(images=(), audio_s=s), PHI4, CPU, {}) for s in (seconds, seconds + more))
    for metric in ("audio_tokens", "audio_encode_s"):
        assert short[metric].value <= long[metric].value
