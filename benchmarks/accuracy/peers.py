"""Decode speed as other advisors say it: their formulas, written again from their sources, for the same rows."""

from __future__ import annotations

Bits = tuple[tuple[str, float], ...]
_LLMFIT_BYTES: Bits = (("16", 2.0), ("Q8", 1.0), ("INT8", 1.0), ("Q6", 0.75), ("Q5", 0.625))
_LLMFIT_CPU: Bits = (("16", 0.6), ("Q8", 0.8), ("INT8", 0.8), ("Q6", 0.95), ("Q5", 1.0), ("Q3", 1.25), ("Q2", 1.35))
_WHICHLLM: Bits = (("16", 0.40), ("Q8", 0.45), ("INT8", 0.45), ("Q6", 0.50), ("Q5", 0.52))


def llmfit(weights_b: float, quantization: str, read_bytes_s: float | None) -> float:
    """llmfit-core/src/fit.rs: 0.55 x bandwidth / (parameters x bytes); on a CPU (no bandwidth) 70 / parameters x 0.33.

    Tokens per second of a model of ``weights_b`` x 10^9 weights.
    """
    if read_bytes_s is None:
        return 70 / weights_b * _of(_LLMFIT_CPU, quantization, 1.15) * 1.1 * 0.3
    return read_bytes_s / 1e9 / (weights_b * _of(_LLMFIT_BYTES, quantization, 0.5)) * 0.55


def whichllm(
    weights_b: float, quantization: str, file_bytes: float, read_bytes_s: float | None, vendor: str = ""
) -> float:
    """engine/performance.py: bandwidth / file x efficiency x vendor; on a CPU (no bandwidth) 18 / parameters."""
    efficiency = _of(_WHICHLLM, quantization, 0.55)
    if read_bytes_s is None:
        return max(0.3, 18 / weights_b * efficiency / 0.45)
    return read_bytes_s / file_bytes * efficiency * {"amd": 0.78, "apple": 0.82, "intel": 0.65}.get(vendor, 1.0)


def _of(table: Bits, quantization: str, else_: float) -> float:
    return next((value for name, value in table if name in quantization.upper()), else_)
