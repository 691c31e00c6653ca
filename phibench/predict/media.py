"""Pictures and speech in a prompt: their tokens, the seconds and the memory of the encoder, the first token after it.

What the encoder takes follows from its FLOPs and the device's matrix rate; how long opening and scaling a picture
takes is not known, and said so. Weights of adapters count as merged into the text's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from phibench.backends.rates import Span
from phibench.catalog import hardware, media
from phibench.catalog.media import Encoded
from phibench.core import units
from phibench.core.nouns import Basis, Device, Estimate, Goal, Grounds, Need, Variant
from phibench.core.nouns.advice import exact
from phibench.predict.basis import worst

# Of the matrix rate, what encoders reach. cpu, probed: SigLIP, SigLIP2 and a conformer at true size in PyTorch and
# llama.cpp took 0.85 to 1.0 of a product of the same type in the same process on 2 cores with AVX2; one machine, so
# wider. The others are assumed: what llama.cpp's prefill reaches of data sheets, whose work is alike.
_SHARE: dict[tuple[str, Basis], Span] = {  # (cpu or other, basis of the rate)
    ("cpu", "probed"): (0.70, 1.15), ("cpu", "spec"): (0.05, 0.55),
    ("other", "probed"): (0.25, 1.0), ("other", "spec"): (0.2, 1.0),
}  # fmt: skip
# What a clip of speech takes beyond its own FLOPs: 5 s took 1.31 s and 30 s 4.7 s beside 95 GFLOP/s.
_CLIP_FLOPS = 60e9
# Bytes of activations in float32, beside weights and libraries: seen 0.6 GB for one crop of 1024 patches and 1.0 for
# three; speech 0.94 GB for 30 s and 1.64 for 60 s.
_IMAGE_BYTES, _CROP_BYTES, _CROP_PATCHES = 0.4e9, 0.2e9, 1024
_CLIP_BYTES, _SECOND_BYTES = 0.24e9, 0.0235e9


def pictures(goal: Goal, variant: Variant) -> tuple[Encoded, ...]:
    """Those of the goal, as the variant sees them; none where it sees nothing."""
    if not media.sees(variant):
        return ()
    return tuple(media.image(variant.id, *media.sides(size)) for size in goal.images)


def speech(goal: Goal, variant: Variant) -> tuple[Encoded, ...]:
    return (media.audio(variant.id, goal.audio_s),) if goal.audio_s and media.hears(variant) else ()


def with_tokens(goal: Goal, variant: Variant) -> Goal:
    """The goal with what its pictures and speech add to the prompt of this variant."""
    seen = (*pictures(goal, variant), *speech(goal, variant))
    return msgspec.structs.replace(goal, prompt_tokens=goal.prompt_tokens + sum(one.tokens for one in seen))


def with_encoder(need: Need, goal: Goal, variant: Variant, device: Device) -> Need:
    """Memory with the encoders that the goal needs: one picture at a time, and all of the speech."""
    size, images, sounds = _number_bytes(device), pictures(goal, variant), speech(goal, variant)
    if not images and not sounds:
        return need
    weights = sum(group[0].parameters for group in (images, sounds) if group) * size
    alive = max((_activations(one) for one in (*images, *sounds)), default=0.0) * size / 4
    return msgspec.structs.replace(
        need, weights_bytes=need.weights_bytes + weights, compute_bytes=need.compute_bytes + round(alive),
        because=f"{need.because}, encoder {units.gib(weights)}",
    )  # fmt: skip


def _activations(one: Encoded) -> float:
    """Bytes in float32."""
    if one.seconds:
        return _CLIP_BYTES + _SECOND_BYTES * one.seconds
    return _IMAGE_BYTES + _CROP_BYTES * one.crops * one.patches / _CROP_PATCHES


def _number_bytes(device: Device) -> int:
    """A cpu encodes in float32, unless it multiplies bfloat16 faster."""
    rates = device.matrix_flops_s
    fast_half = rates.get("bfloat16", 0.0) > rates.get("float32", 0.0)
    return 4 if device.kind == "cpu" and not fast_half else 2


def estimates(goal: Goal, variant: Variant, device: Device, found: dict[str, Estimate]) -> dict[str, Estimate]:
    """``found`` with what pictures and speech add; times that cannot be said any more are left out.

    ``found`` has the times of the whole prompt, tokens of pictures included: the encoder's come on top.
    """
    images, sounds = pictures(goal, variant), speech(goal, variant)
    if not images and not sounds:
        return found
    told = dict(found)
    spans = []
    if images:
        sizes = ", ".join(goal.images)
        told["image_tokens"] = exact(sum(one.tokens for one in images), "exact", f"{sizes}, by the model's own rule")
        spans.append(seen := _encode_s(images, device, f"image of {sizes}"))
        told |= {"image_encode_s": seen} if seen else {}
    if sounds:
        told["audio_tokens"] = exact(sounds[0].tokens, "exact", f"{sounds[0].seconds:g} s of speech")
        spans.append(heard := _encode_s(sounds, device, f"{sounds[0].seconds:g} s of speech"))
        if heard:
            told |= {"audio_encode_s": heard, "rtf": _scaled(heard, 1 / sounds[0].seconds, "for each second of speech")}
    for name in ("ttft_s", "answer_s"):
        if whole := told.pop(name, None):
            known = [e for e in spans if e]
            told |= {name: _sum(whole, known)} if len(known) == len(spans) else {}
    return told


def _encode_s(seen: tuple[Encoded, ...], device: Device, what: str) -> Estimate | None:
    """Seconds of the encoder, one picture after the other; None where no matrix rate is known."""
    rate = _matrix_rate(device)
    if rate is None:
        return None
    flops = math.fsum(one.flops + (_CLIP_FLOPS if one.seconds else 0.0) for one in seen)
    slow, fast = _SHARE["cpu" if device.kind == "cpu" else "other", rate.basis]
    low, high, share = flops / (rate.most * fast), flops / (rate.least * slow), math.sqrt(slow * fast)
    up_to = f" to {rate.most / 1e9:.3g}" if rate.most > rate.least else ""
    return Estimate(
        value=math.sqrt(low * high), low=low, high=high, basis=rate.basis,
        because=f"{what}: {flops / 1e12:.3g} TFLOP at {share:.2f} of {rate.least / 1e9:.3g}{up_to} GFLOP/s "
        f"({rate.of}); opening and scaling it is not counted",
        grounds=Grounds(flops=flops, rate=math.sqrt(rate.least * rate.most), share=share), doubt=rate.doubt,
    )  # fmt: skip


class _Rate(NamedTuple):
    """FLOP/s: what was seen and, of one that is doubted, what it can be at most; where it comes from, in words, too."""

    least: float
    most: float
    basis: Basis
    of: str
    doubt: str = ""


def _matrix_rate(device: Device) -> _Rate | None:
    """The largest that was measured, else a data sheet's."""
    if device.matrix_flops_s:
        kind, rate = max(device.matrix_flops_s.items(), key=lambda item: item[1])
        doubt = f"matrix rate {device.matrix_doubt}" if device.matrix_doubt else ""
        most = max(rate, *device.most_matrix_flops_s.values()) if doubt else rate
        return _Rate(rate, most, "probed", f"{kind} product measured here", doubt)
    row = None if device.flops_s else hardware.find(device.name, device.memory_bytes)
    sheet = device.flops_s or (row.fp16_flops_s if row else None)
    return _Rate(sheet, sheet, "spec", "data sheet") if sheet else None


def _sum(whole: Estimate, encoders: list[Estimate]) -> Estimate:
    parts = [whole, *encoders]
    return Estimate(
        value=math.fsum(e.value for e in parts), low=math.fsum(e.low for e in parts),
        high=math.fsum(e.high for e in parts), basis=worst(*(e.basis for e in parts)),
        because=f"encoder {units.duration(math.fsum(e.value for e in encoders))}, then {whole.because}",
        grounds=whole.grounds, doubt="; ".join(dict.fromkeys(filter(None, (e.doubt for e in parts)))),
    )  # fmt: skip


def _scaled(one: Estimate, factor: float, because: str) -> Estimate:
    return msgspec.structs.replace(
        one, value=one.value * factor, low=one.low * factor, high=one.high * factor,
        because=f"{because}: {one.because}",
    )  # fmt: skip
