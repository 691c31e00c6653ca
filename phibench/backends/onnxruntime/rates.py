"""How near onnxruntime-genai comes to what a device could do."""

from __future__ import annotations

from phibench.backends.rates import KV, Rates

# read_share: Phi-4-mini on the machine of llama.cpp's rates (docs/backends.md, onnxruntime.md), which read 49-62 GB/s:
#   int4 10.2-13.3 tok/s x 2.40 GB is 0.40-0.65.
# matrix_share: pp512 33 tok/s x 7.8 GFLOP (logits of all tokens) against 205 GFLOP/s of float32 by numpy: 1.2, with
#   integer kernels; without them less than 1 (assumed).
# times: Phi-3-medium int4 decodes 72.3 tok/s on an RTX 4080 (ONNX Runtime's page of 2024-05-21), as llama.cpp's class
#   would; of prompts and other devices nobody says anything (assumed).
# start_s, open_gb_s: phi-1.5 on 2 Zen 4 cores, its file in memory: int4 (1.24 GB) 1.6 s, int8 (1.9 GB) 2.0;
#   Phi-4-mini int4 (2.45 GB), whose embedding is its head, 9 s: the middle of these.
# thread_gb_s: benchmarks/thread_rates.py on one Zen 4 core; KV as llama.cpp's (assumed).
# step_s: a step of Phi-4-mini int4 takes 24.8 ms in 4 layers and 84 whole, of Phi-3.5-mini 8.5 in 2 and 87 whole (2 Zen
#   4 cores): 2 to 3 ms that neither layers nor head explain, the logits' way through the generator among them.
# attention_gflop_s: tg16 of Phi-3.5-mini in 2 layers behind 0 and 1024 tokens, 2 threads: 19 GFLOP/s.
RATES = Rates(
    read_share=(0.38, 0.85), matrix_share={"float32": (0.4, 2.2)}, times={"decode": 1.0, "prefill": 1.2}, times_sd=0.3,
    thread_gb_s={"fp32": 73.6, "int8": 50.5, "fp16": 34.9, "int4": 26.3, "int4-acc0": 8.5, KV: 18.2},
    attention_gflop_s=9.7,
    step_s=2.5e-3,
    start_s=0.8,
    open_gb_s={"": 0.6},
)  # fmt: skip
