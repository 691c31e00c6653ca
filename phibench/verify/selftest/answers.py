"""What the tiny models should answer: logits of transformers in float32, written once and shipped with phibench.

``make answers`` writes them anew, with torch and what the formats are read with; a test compares them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from phibench import catalog
from phibench.verify import seeded_models
from phibench.verify.child import format_module
from phibench.verify.selftest import weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = Path(__file__).with_name("answers.npz")
MIXED = "all types"  # the name of the one file that holds all types of a format


def quantizations(fmt: str) -> tuple[str, ...]:
    """Whose answers are shipped; none of a format that has no self-test."""
    found: tuple[str, ...] = format_module(fmt).SELFTESTED
    return found


def load(fmt: str, quantization: str) -> NDArray[np.float32]:
    """Logits, shape (1 + STEPS, vocabulary): after the prompt, and after each token that follows."""
    import numpy as np

    with np.load(FILE, allow_pickle=False) as stored:
        found: NDArray[np.float32] = stored[_key(fmt, quantization)].astype(np.float32)
    return found


def write(fmt: str, made: seeded_models.Model, quantization: str, folder: Path) -> Path:
    """The file or folder of a tiny model in ``folder``: as ``verify`` writes it, or one file with all types."""
    if quantization == MIXED:
        return weights.write_gguf(made, folder)  # the only format whose types mix in a file
    path: Path = format_module(fmt).write(made, quantization, folder)
    return path


def compute(fmt: str, quantization: str) -> NDArray[np.float32]:
    """What is right for what really lies in the file, dequantized. Needs torch and the format's own package."""
    from phibench.verify import reference
    from phibench.verify import weights as stored

    made = weights.model()
    with tempfile.TemporaryDirectory() as folder:
        path = write(fmt, made, quantization, Path(folder))
        found = format_module(fmt).stored(made, quantization, path)
        held = stored.check(made, found, float("inf")).weights
    # llama.cpp takes LongRoPE's factors by the context, the others by the prompt's length: both are beyond the switch
    return reference.logits(made.shape, held, made.rope, (weights.prompt(),))[0]


def _key(fmt: str, quantization: str) -> str:
    return f"{fmt} {quantization}"


def _all() -> Iterator[tuple[str, str]]:
    for fmt in catalog.formats():
        for quantization in quantizations(fmt):
            yield fmt, quantization


def main() -> None:
    """Each in a process of its own, since ONNX Runtime and torch share none; half precision is enough for logits."""
    import subprocess

    import numpy as np

    if arguments := sys.argv[1:]:
        np.save(arguments[0], compute(*arguments[1:]).astype(np.float16))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for fmt, quantization in _all():
            path = Path(folder) / f"{fmt}-{quantization}.npy"
            subprocess.run([sys.executable, "-P", "-m", __spec__.name, str(path), fmt, quantization], check=True)
            found[_key(fmt, quantization)] = np.load(path)
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
