"""A picture or a stretch of speech as tokens, crops, and arithmetic of the encoder. Pure: no picture is opened.

The rules are those of the models' own processors (figures of theirs: tests/catalog/test_media.py):

- Phi-3-vision and Phi-3.5-vision: CLIP ViT-L/14-336; GenAI's phi3v processor, num_crops 16.
- Phi-Ground: the same of one size that every picture is brought to, 1008x672 or 1680x1008, as their cards say.
- Phi-4-multimodal: SigLIP-400M; transformers' Phi4MultimodalImageProcessor, dynamic_hd 36. Its speech: a conformer,
  Phi4MultimodalFeatureExtractor.
- Phi-4-reasoning-vision: SigLIP2 SO400M NaFlex; transformers' get_image_size_for_max_num_patches, 256 to 3600 patches.

FLOPs are those to the layer that is read: an engine that runs all layers computes up to 4 % more.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable

from phibench.core.errors import PhibenchError
from phibench.core.nouns import Noun, Variant

_MOST_PIXELS = 1 << 16  # of a side: more is a slip of the finger
_LEAST_PIXELS = 10  # of a side once it is scaled: Phi4MultimodalImageProcessor refuses less
AUDIO_HZ = 16_000
_WINDOW, _HOP, _SUBSAMPLED = 400, 160, 8  # samples of a frame, from frame to frame; frames of a token
_AUDIO_FLOPS_S = 12.8e9  # of a second of speech, up to 40 s: 24 blocks of the conformer, its convolutions
_AUDIO_PARAMETERS = 441_238_144 + 25_178_112  # the conformer, and two projectors of 1024-3072-3072


class Tower(Noun, frozen=True, kw_only=True):
    """An encoder of pictures. ``layers``: that are run; ``read``: numbers that the projector takes for a token."""

    width: int
    ffn: int
    layers: int
    patch: int
    read: int
    hidden: int  # of the model of the text
    parameters: int  # of all its layers, with the projector


class Encoded(Noun, frozen=True, kw_only=True):
    """What a picture or speech becomes: tokens of the prompt, and what the encoder has to do for them.

    ``crops``: how many pictures the tower sees, ``patches``: of each. ``parameters``: of the encoder.
    """

    tokens: int
    flops: float
    parameters: int
    crops: int = 0
    patches: int = 0
    seconds: float = 0.0  # of speech


CLIP = Tower(
    width=1024, ffn=4096, layers=23, patch=14, read=4096, hidden=3072, parameters=303_507_456 + 22_026_240 + 8_192
)
SIGLIP = Tower(width=1152, ffn=4304, layers=26, patch=14, read=1152, hidden=3072, parameters=428_565_440 + 12_984_576)
SIGLIP2 = Tower(width=1152, ffn=4304, layers=26, patch=16, read=1152, hidden=5120, parameters=429_530_784)


def sides(size: str) -> tuple[int, int]:
    """Width and height of ``1344x1344``. Raises PhibenchError (exit 2)."""
    found = re.fullmatch(r"([0-9]{1,6})[xX×]([0-9]{1,6})", size.strip())
    if found is None:
        raise PhibenchError(f"an image of '{size}' makes no sense; write width and height, as in 1344x1344")
    width, height = int(found[1]), int(found[2])
    if not (0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS):
        raise PhibenchError(f"an image of {size} pixels makes no sense; a side has 1 to {_MOST_PIXELS}")
    return width, height


@functools.lru_cache(maxsize=4096)
def image(variant: str, width: int, height: int, crops: int | None = None) -> Encoded:
    """What a variant (its id) makes of a picture; ``crops``: the most that its processor may cut, None: its default.

    Raises PhibenchError (exit 2) where it takes no pictures, or not one of this shape.
    """
    rule = _IMAGES.get(variant)
    if rule is None:
        raise PhibenchError(f"how {variant} sees an image is not known; it is known of: {', '.join(_IMAGES)}")
    return rule(width, height, crops)


@functools.lru_cache(maxsize=4096)
def audio(variant: str, seconds: float) -> Encoded:
    """What a variant makes of so much speech, at 16 kHz. Raises PhibenchError (exit 2) where it hears nothing."""
    if variant not in _AUDIO:
        raise PhibenchError(f"how {variant} hears speech is not known; it is known of: {', '.join(_AUDIO)}")
    samples = round(seconds * AUDIO_HZ)
    if samples < _WINDOW:
        raise PhibenchError(f"{seconds} s of speech are too short: the first frame takes {_WINDOW / AUDIO_HZ} s")
    frames = (samples - _WINDOW) // _HOP + 1
    return Encoded(
        tokens=-(-frames // _SUBSAMPLED),
        flops=seconds * _AUDIO_FLOPS_S,
        parameters=_AUDIO_PARAMETERS,
        seconds=seconds,
    )


def sees(variant: Variant) -> bool:
    """Whether pictures can be counted for it."""
    return variant.id in _IMAGES


def hears(variant: Variant) -> bool:
    return variant.id in _AUDIO


# --------------------------------------------------------------------------------------------------- rules


def _phi3(width: int, height: int, crops: int | None) -> Encoded:
    """Always enlarged: the longer side to as many crops of 336 as there may be, the shorter one padded."""
    most = 16 if crops is None else crops
    ratio = max(width, height) / min(width, height)
    scale = 1
    while (scale + 1) * math.ceil((scale + 1) / ratio) <= most:
        scale += 1
    long, short = scale, max(1, math.ceil(int(336 * scale / ratio) / 336))
    columns, rows = (long, short) if width >= height else (short, long)
    seen = columns * rows + 1  # and all of it once more, small
    tokens = 144 * columns * rows + 144 + 1 + 12 * (rows + 1)
    return _encoded(CLIP, tokens, seen, 24 * 24 + 1)


def _phi4(width: int, height: int, crops: int | None) -> Encoded:
    """Cut into crops of 448, shrunk to the nearest grid where those are too many, padded right or below."""
    most = 36 if crops is None else crops
    columns, rows = math.ceil(width / 448), math.ceil(height / 448)
    if columns * rows > most:
        columns, rows = _nearest_grid(width, height, most)
    across, down = 448 * columns / width, 448 * rows / height
    pad_x = 0 if across < down else 448 * columns - int(width * down)
    pad_y = 448 * rows - int(height * across) if across < down else 0
    if min(448 * columns - pad_x, 448 * rows - pad_y) < _LEAST_PIXELS:
        raise PhibenchError(f"an image of {width}x{height} is too narrow: a side has under {_LEAST_PIXELS} pixels left")
    wide, high = math.ceil((32 * columns - pad_x // 14) / 2), math.ceil((32 * rows - pad_y // 14) / 2)
    return _encoded(SIGLIP, high * wide + high + 1 + 272, columns * rows + 1, 32 * 32)


def _nearest_grid(width: int, height: int, most: int) -> tuple[int, int]:
    """Of all grids of up to ``most`` crops the one nearest in shape; of equals the larger if the picture fills half."""
    pairs = ((i, j) for i in range(1, most + 1) for j in range(1, most // i + 1))
    best, least = (1, 1), math.inf
    for i, j in sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair)):
        away = abs(width / height - i / j)
        if away < least or (away == least and width * height > 0.5 * 448 * 448 * i * j):
            best, least = (i, j), away
    return best


def _reasoning(width: int, height: int, crops: int | None) -> Encoded:
    """As it is, in patches of 16, scaled only where those are under 256 or over 3600."""
    most = min(max((width // 16) * (height // 16), 256), 3600 if crops is None else crops)
    low, high = 1e-6, 100.0  # of the scale, by halves, as transformers does it
    while high - low >= 1e-5:
        scale = (low + high) / 2
        fits = _patches(scale, width) * _patches(scale, height) <= most
        low, high = (scale, high) if fits else (low, scale)
    tokens = _patches(low, width) * _patches(low, height)
    return _encoded(SIGLIP2, tokens, 1, tokens)


def _patches(scale: float, side: int) -> int:
    return max(1, math.ceil(side * scale / 16))


def _encoded(tower: Tower, tokens: int, crops: int, patches: int) -> Encoded:
    d, f = tower.width, tower.ffn
    layer = 2 * patches * (4 * d * d + 2 * d * f) + 4 * patches * patches * d
    seen = tower.layers * layer + 6 * patches * d * tower.patch**2
    projector = 2 * tokens * (tower.read * tower.hidden + tower.hidden**2)
    return Encoded(
        tokens=tokens,
        flops=float(crops * seen + projector),
        parameters=tower.parameters,
        crops=crops,
        patches=patches,
    )


_IMAGES: dict[str, Callable[[int, int, int | None], Encoded]] = {
    "phi-3-vision-128k-instruct": _phi3,
    "phi-3.5-vision-instruct": _phi3,
    "phi-ground-4b-7c": lambda _w, _h, _c: _phi3(1008, 672, 3 * 2),
    "phi-ground-any-4b": lambda _w, _h, _c: _phi3(1680, 1008, 5 * 3),
    "phi-4-multimodal-instruct": _phi4,
    "phi-4-reasoning-vision-15b": _reasoning,
}
_AUDIO = ("phi-4-multimodal-instruct",)
