"""llama-cpp-python as synth needs it: its module, its version, and the quantizer inside its ggml."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from phibench.nouns import FAILED, PhibenchError


def llama_cpp() -> Any:
    """The package; PhibenchError with the remedy when it is not installed or cannot be loaded."""
    try:
        return importlib.import_module("llama_cpp")
    except ModuleNotFoundError:
        raise PhibenchError("llama-cpp-python is not installed: pip install 'phibench[llama-cpp]'", FAILED) from None
    except (OSError, RuntimeError) as error:
        raise PhibenchError(f"llama-cpp-python cannot be loaded: {error}", FAILED) from None


def version() -> str:
    llama_cpp()
    return importlib.metadata.version("llama-cpp-python")
