"""How near each backend comes to what a device could do; physics multiplies with it.

Every range is (slow, fast), meant to hold for 80 % of machines, with its source; docs/predicting.md says what is not
validated yet. benchmarks/thread_rates.py times the threads.
"""

from __future__ import annotations

from phibench.core.nouns import Noun

Span = tuple[float, float]  # of a rate: (slow, fast); of a time: (short, long)
Where = tuple[str, str]  # kind of device ("cpu" or "other"), basis of its figure
KV = "KV"
THREAD_SHARE: Span = (0.6, 1.6)  # of a thread's rate, on another CPU (assumed)


class Rates(Noun, frozen=True, kw_only=True):
    """``read_share``: of the stated bandwidth, what decode reaches where it only waits for memory.

    ``matrix_share``: of the matrix rate, what prefill reaches. ``thread_gb_s``: GB/s of weights that one CPU thread can
    multiply when they lie in its cache, by tensor type; where this is less than the thread's part of the bandwidth,
    decode waits for arithmetic.
    """

    read_share: dict[Where, Span]
    matrix_share: dict[Where, Span]
    thread_gb_s: dict[str, float]

    def thread_bytes_s(self, kind: str) -> float:
        """A type that nobody timed counts as the slowest one that somebody did."""
        return 1e9 * self.thread_gb_s.get(kind, min(self.thread_gb_s.values()))


# read_share
#   cpu, probed: Phi-4-mini Q4_K_M decoded 11-14 tok/s x 2.49 GB against 41 GB/s read on a 2-core Zen 4 virtual
#     machine: 0.67-0.85. One machine, so wider.
#   cpu, spec: the same, and a read test reaches 0.6-0.9 of channels x MT/s x 8 B (assumed).
#   other, spec: published llama-bench decode of Phi x file size / data sheet: RTX 4080 0.85, M2 Max 0.75,
#     RTX 3060 0.75, RX 6600 0.70, Arc B70 0.78 (SYCL) and 0.38 (Vulkan).
#   other, probed: the same against a bandwidth test, which reaches about 0.9 of the data sheet (assumed).
# matrix_share
#   cpu, probed: Phi-4-mini Q4_K_M pp512, 43 tok/s x 7.2 GFLOP against 205 GFLOP/s of float32 by numpy on a 2-core
#     Zen 4 virtual machine (AVX-512 VNNI): 1.5, since integer kernels do more per clock. Without them less than 1
#     (assumed). One machine, so wide.
#   cpu, spec: Phi-3.5-mini F16 with 8192 tokens on a Ryzen 9 7950X: llama.cpp 81 and 32 tok/s (flash attention), a fork
#     307 tok/s with BF16, against 5.1 TFLOPS: 0.14, 0.06, 0.54.
#   other, spec: pp512 x 2 x parameters / data sheet: RTX 4080 0.86, RTX 3060 1.0 (integer kernels), M2 Max 0.55,
#     RX 6600 0.23 (Vulkan).
#   other, probed: the same against a bf16 product by torch, which reaches 0.6 to 0.9 of the data sheet (assumed).
# thread_gb_s: ggml's vec_dot in llama-cpp-python 0.3.36 on one Zen 4 core (AVX-512), best of 40 calls on 2^18 weights;
#   only the order of magnitude travels to other CPUs. The last row is repacked on x86 and so faster than its vec_dot:
#   Q4_K (vec_dot 8.5) is fitted to the 11-14 tok/s above, the others are given the same gain of 2.4 (assumed).
_LLAMA_CPP = Rates(
    read_share={
        ("cpu", "probed"): (0.60, 0.90), ("cpu", "spec"): (0.36, 0.81),
        ("other", "spec"): (0.40, 0.86), ("other", "probed"): (0.45, 0.95),
    },
    matrix_share={
        ("cpu", "probed"): (0.3, 2.0), ("cpu", "spec"): (0.05, 0.55),
        ("other", "spec"): (0.2, 1.0), ("other", "probed"): (0.25, 1.5),
    },
    thread_gb_s={
        "F32": 18.2, "F16": 18.2, "BF16": 16.8, KV: 18.2, "Q8_0": 14.0, "Q6_K": 11.4, "Q5_K": 8.6, "Q5_1": 7.7,
        "Q5_0": 7.5, "Q4_1": 7.1, "IQ4_XS": 7.1, "Q3_K": 5.9, "IQ2_S": 3.2, "IQ3_XXS": 2.8, "IQ3_S": 2.8,
        "IQ2_XS": 2.7, "IQ2_XXS": 2.5, "IQ1_M": 2.0, "IQ1_S": 1.9,
        "Q4_K": 20.6, "Q4_0": 16.5, "IQ4_NL": 16.5, "Q2_K": 12.4,
    },
)  # fmt: skip


# onnxruntime, torch
#   read_share, cpu probed: Phi-4-mini on the machine above (docs/backends.md, torch.md and onnxruntime.md), which read
#     49-62 GB/s: int4 10.2-13.3 tok/s x 2.40 GB is 0.40-0.65, bf16 4.3-4.8 tok/s x 7.67 GB 0.52-0.59, 0.83 where
#     reading was slow. cpu spec: as for llama.cpp. Other devices: nothing was run (assumed, wider than llama.cpp's).
#   matrix_share, cpu probed: pp512 33 tok/s x 7.8 GFLOP (logits of all tokens) and 56 tok/s x 6.5 GFLOP, against the
#     205 GFLOP/s above: 1.2 and 1.8, with integer and bf16 kernels; without them less than 1 (assumed). The rest is
#     assumed.
#   thread_gb_s: benchmarks/thread_rates.py on one Zen 4 core; int4 of torch from decode at full size (assumed), KV as
#     llama.cpp's (assumed).
_ONNXRUNTIME = Rates(
    read_share={
        ("cpu", "probed"): (0.38, 0.85), ("cpu", "spec"): (0.23, 0.77),
        ("other", "spec"): (0.25, 0.86), ("other", "probed"): (0.28, 0.95),
    },
    matrix_share={
        ("cpu", "probed"): (0.3, 2.0), ("cpu", "spec"): (0.05, 0.55),
        ("other", "spec"): (0.1, 1.0), ("other", "probed"): (0.12, 1.5),
    },
    thread_gb_s={"fp32": 73.6, "int8": 50.5, "fp16": 34.9, "int4": 26.3, "int4-acc0": 8.5, KV: 18.2},
)  # fmt: skip
_TORCH = Rates(
    read_share={
        ("cpu", "probed"): (0.45, 0.88), ("cpu", "spec"): (0.27, 0.79),
        ("other", "spec"): (0.25, 0.86), ("other", "probed"): (0.28, 0.95),
    },
    matrix_share={
        ("cpu", "probed"): (0.3, 2.4), ("cpu", "spec"): (0.05, 0.6),
        ("other", "spec"): (0.1, 1.0), ("other", "probed"): (0.12, 1.5),
    },
    thread_gb_s={"fp32": 59.3, "bf16": 21.7, "fp16": 21.4, "int8": 19.4, "int4": 10.0, KV: 18.2},
)  # fmt: skip
_RATES = {"llama_cpp": _LLAMA_CPP, "onnxruntime": _ONNXRUNTIME, "torch": _TORCH}


def of(backend: str) -> Rates:
    """Raises KeyError for a backend that nobody recommends."""
    return _RATES[backend]
