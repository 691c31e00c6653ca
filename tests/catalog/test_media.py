"""Tokens of pictures and speech, as the models' own processors count them; arithmetic of the encoders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench import catalog
from phibench.catalog import media
from phibench.core.errors import PhibenchError

PHI3, PHI4, REASONING = "phi-3.5-vision-instruct", "phi-4-multimodal-instruct", "phi-4-reasoning-vision-15b"
# Said by GenAI's phi3v processor, transformers' Phi4MultimodalImageProcessor and Siglip2ImageProcessorPil.
SEEN = {
    (336, 336): ((2509, 757), (545, 545, 545), 2, 441),
    (448, 448): ((2509, 757), (545, 545, 545), 2, 784),
    (1024, 768): ((1921, 757), (1681, 1681, 1065), 7, 3072),
    (1344, 1344): ((2509, 757), (2625, 2625, 1329), 10, 3600),
    (1920, 1080): ((2353, 757), (3918, 3918, 753), 16, 3600),
    (4000, 3000): ((1921, 757), (3393, 3393, 1065), 13, 3588),
    (448, 2688): ((2557, 781), (1905, 1905, 1041), 7, 3456),
}
pixels = st.integers(64, 4096)


@pytest.mark.parametrize("size", SEEN, ids=str)
def test_tokens_are_those_of_the_models_own_processors(size: tuple[int, int]) -> None:
    phi3, phi4, crops, reasoning = SEEN[size]
    assert tuple(media.image(PHI3, *size, crops=most).tokens for most in (16, 4)) == phi3
    assert tuple(media.image(PHI4, *size, crops=most).tokens for most in (36, 16, 4)) == phi4
    assert media.image(PHI4, *size).crops == crops
    assert media.image(REASONING, *size).tokens == reasoning


@pytest.mark.parametrize("size", SEEN, ids=str)
def test_a_grounding_model_brings_every_picture_to_one_size(size: tuple[int, int]) -> None:
    seven, any_ = (media.image(f"phi-ground-{name}", *size) for name in ("4b-7c", "any-4b"))
    assert (seven.crops, any_.crops) == (3 * 2 + 1, 5 * 3 + 1)
    assert (seven.tokens, any_.tokens) == (1045, 2353)


def test_an_icon_costs_phi4_as_much_as_a_crop() -> None:
    assert media.image(PHI4, 40, 40).tokens == 545


@pytest.mark.parametrize(("seconds", "tokens"), [(1, 13), (10, 125), (30, 375), (60, 750), (1800, 22500)])
def test_speech_is_twelve_and_a_half_tokens_a_second(seconds: float, tokens: int) -> None:
    assert media.audio(PHI4, seconds).tokens == tokens


def test_flops_of_a_crop_are_those_of_its_tower() -> None:
    """CLIP 365 GFLOP a crop, SigLIP 938, SigLIP2 at 3,600 patches 4,403; a conformer 12.8 a second."""
    per_crop = media.image(PHI3, 336, 336).flops / media.image(PHI3, 336, 336).crops
    assert per_crop == pytest.approx(365e9, rel=0.03)
    assert media.image(PHI4, 1344, 1344).flops == pytest.approx(9.4e12, rel=0.03)
    assert media.image(REASONING, 1344, 1344).flops == pytest.approx(4.4e12 + 0.23e12, rel=0.02)
    assert media.audio(PHI4, 30).flops == pytest.approx(384e9)


def test_the_encoders_are_what_the_models_have_beside_their_text() -> None:
    shape = media.image(PHI3, 336, 336).parameters
    assert 3_821_079_552 + shape == catalog.variant(PHI3).parameters
    # the means and variances of the speech's input (160), and adapters of rank 256 and 320
    rest = 3_836_021_760 + 160 + 1_441_792 * (256 + 320)
    both = media.image(PHI4, 448, 448).parameters + media.audio(PHI4, 1).parameters
    assert rest + both == catalog.variant(PHI4).parameters


@given(st.sampled_from([PHI3, PHI4, REASONING]), pixels, pixels)
def test_every_picture_has_tokens_and_work(variant: str, width: int, height: int) -> None:
    found = media.image(variant, width, height)
    assert 200 <= found.tokens <= 12_000
    assert found.crops >= 1
    assert found.flops > 1e10


@given(st.integers(256, 4096), st.integers(256, 4096), st.integers(1, 36))
def test_never_more_crops_than_allowed(width: int, height: int, most: int) -> None:
    assert media.image(PHI4, width, height, crops=most).crops <= most + 1
    assert media.image(PHI3, width, height, crops=most).crops <= most + 1


@given(st.floats(0.1, 3600), st.floats(0, 3600))
def test_longer_speech_never_costs_less(seconds: float, more: float) -> None:
    short, long = media.audio(PHI4, seconds), media.audio(PHI4, seconds + more)
    assert short.tokens <= long.tokens
    assert short.flops <= long.flops


@pytest.mark.parametrize("size", ["1344", "0x5", "axb", "10x10x10", "1344 by 1344", "70000x10", "-1x4"])
def test_a_size_that_makes_no_sense_is_refused(size: str) -> None:
    with pytest.raises(PhibenchError, match="makes no sense"):
        media.sides(size)


def test_sizes_are_read() -> None:
    assert media.sides("1920x1080") == media.sides(" 1920X1080 ") == (1920, 1080)


def test_who_sees_and_hears() -> None:
    with pytest.raises(PhibenchError, match="phi-2"):
        media.image("phi-2", 448, 448)
    with pytest.raises(PhibenchError, match=PHI3):
        media.audio(PHI3, 30)
    with pytest.raises(PhibenchError, match="too short"):
        media.audio(PHI4, 0.01)
    with pytest.raises(PhibenchError, match="too narrow"):
        media.image(PHI4, 40_000, 10)
    for variant in catalog.variants():
        assert media.sees(variant) == ("image" in variant.modalities_in)
        assert media.hears(variant) == ("audio" in variant.modalities_in)
