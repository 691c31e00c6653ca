"""How near llama.cpp comes to what a device could do."""

from __future__ import annotations

from phibench.backends.rates import KV, Rates

# read_share: Phi-4-mini Q4_K_M decoded 11-14 tok/s x 2.49 GB against 41 GB/s read on a 2-core Zen 4 virtual machine:
#   0.67-0.85. One machine, so wider.
# matrix_share: by type 0.98 (Q8_0) to 2.3 (Q5_K) of 205 GFLOP/s of float32 by numpy, Q4_K 1.4, on a 2-core Zen 4
#   virtual machine (AVX-512 VNNI; docs/calibrating.md), since integer kernels do more per clock. Without them less than
#   1 (assumed). One machine, so wide.
# times: the classes are llama.cpp's.
# start_s, open_gb_s: phi-1.5 on 2 Zen 4 cores, its file in memory: Q8_0 (1.5 GB) 0.15 s, Q6_K 0.14 s: mapped, and pages
#   come with the first token; Q4_K_M 0.56 s and Q4_0 0.47 s: 0.48 and 0.68 GB of copies made by one thread.
# thread_gb_s: half of the fastest that slices ran at with two threads, in seven calibrations of a 2-core Zen 4 machine
#   (AVX-512; llama-cpp-python 0.3.36); from Q8_0 up memory may have held them up. ggml's vec_dot alone, in cache, is
#   1.4 times slower. Assumed: BF16 and F32 as F16; Q5_1, IQ2_XXS and IQ1_*, of which vec_dot alone was timed, gain as
#   much.
# attention_gflop_s: tg24 of slices behind 0, 1024 and 2048 tokens, 2 threads of a Zen 4 core each: 16.8 GFLOP/s for
#   Phi-4-mini and Phi-4 (heads of 128); for Phi-3.5-mini 3.9: its heads of 96 are no multiple of the 64 numbers that
#   AVX-512 takes at once in ggml_vec_dot_f16, and the rest goes one by one.
RATES = Rates(
    read_share=(0.60, 0.90), matrix_share={"float32": (0.5, 2.6)}, times={"decode": 1.0, "prefill": 1.0}, times_sd=0.0,
    thread_gb_s={
        "F32": 24.0, "F16": 24.0, "BF16": 24.0, KV: 18.2, "Q4_K": 20.9, "IQ4_NL": 19.1, "Q4_0": 18.0, "Q6_K": 18.0,
        "Q8_0": 17.0, "Q2_K": 14.8, "Q5_K": 14.0, "IQ4_XS": 11.8, "Q5_1": 10.4, "Q5_0": 10.1, "Q3_K": 10.3, "Q4_1": 8.0,
        "IQ2_S": 4.6, "IQ3_XXS": 4.0, "IQ3_S": 3.9, "IQ2_XS": 3.7, "IQ2_XXS": 3.5, "IQ1_M": 2.8, "IQ1_S": 2.6,
    },
    attention_gflop_s=8.4,
    start_s=0.14,
    open_gb_s={"": 20.0, "Q4_K": 1.15, "Q4_0": 2.1, "IQ4_NL": 2.1, "Q2_K": 1.15},
)  # fmt: skip
