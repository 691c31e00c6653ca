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
# thread_gb_s: ggml's vec_dot in llama-cpp-python 0.3.36 on one Zen 4 core (AVX-512), best of 40 calls on 2^18 weights;
#   only the order of magnitude travels to other CPUs. The last row is repacked on x86 and so faster than its vec_dot:
#   Q4_K (vec_dot 8.5) is fitted to the 11-14 tok/s above, the others are given the same gain of 2.4 (assumed).
# attention_gflop_s: tg24 of slices behind 0, 1024 and 2048 tokens, 2 threads of a Zen 4 core each: 16.8 GFLOP/s for
#   Phi-4-mini and Phi-4 (heads of 128); for Phi-3.5-mini 3.9: its heads of 96 are no multiple of the 64 numbers that
#   AVX-512 takes at once in ggml_vec_dot_f16, and the rest goes one by one.
RATES = Rates(
    read_share=(0.60, 0.90), matrix_share={"float32": (0.5, 2.6)}, times={"decode": 1.0, "prefill": 1.0}, times_sd=0.0,
    thread_gb_s={
        "F32": 18.2, "F16": 18.2, "BF16": 16.8, KV: 18.2, "Q8_0": 14.0, "Q6_K": 11.4, "Q5_K": 8.6, "Q5_1": 7.7,
        "Q5_0": 7.5, "Q4_1": 7.1, "IQ4_XS": 7.1, "Q3_K": 5.9, "IQ2_S": 3.2, "IQ3_XXS": 2.8, "IQ3_S": 2.8,
        "IQ2_XS": 2.7, "IQ2_XXS": 2.5, "IQ1_M": 2.0, "IQ1_S": 1.9,
        "Q4_K": 20.6, "Q4_0": 16.5, "IQ4_NL": 16.5, "Q2_K": 12.4,
    },
    attention_gflop_s=8.4,
    start_s=0.14,
    open_gb_s={"": 20.0, "Q4_K": 1.15, "Q4_0": 2.1, "IQ4_NL": 2.1, "Q2_K": 1.15},
)  # fmt: skip
