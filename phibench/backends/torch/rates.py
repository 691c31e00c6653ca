"""How near PyTorch comes to what a device could do."""

from __future__ import annotations

from phibench.backends.rates import KV, Rates

# read_share: Phi-4-mini on the machine of llama.cpp's rates (docs/backends.md, torch.md), which read 49-62 GB/s: bf16
#   4.3-4.8 tok/s x 7.67 GB is 0.52-0.59, 0.83 where reading was slow.
# matrix_share: pp512 of bf16, 56 tok/s x 6.5 GFLOP against 435 GFLOP/s of bfloat16 by torch and 205 of float32 by
#   numpy: 0.84 and 1.8; on a processor without bfloat16 units encoders ran at 1.0 of their 18 GFLOP/s of bfloat16.
# times: nothing was run on other devices (assumed: Python starts every kernel by itself).
# start_s, open_gb_s: torch and transformers are imported in 3 s on 2 Zen 4 cores; folders were not timed (assumed:
#   copied by one thread; int8 and int4 computed from the original, 16 bits a weight).
# thread_gb_s: benchmarks/thread_rates.py on one Zen 4 core; int8 and int4 half of the fastest that slices ran at with
#   two threads (int8 in cache: 19.4); KV as llama.cpp's (assumed).
# layer_s: benchmarks/torch_layers.py, 0.21 to 0.26 ms on two Zen 4 cores: Python starts some thirty kernels.
# attention_gflop_s: as onnxruntime's: 4.5 GFLOP/s.
RATES = Rates(
    read_share=(0.45, 0.88), matrix_share={"bfloat16": (0.5, 1.2), "float32": (0.3, 2.4)},
    times={"decode": 1.4, "prefill": 1.0}, times_sd=0.4,
    thread_gb_s={"fp32": 59.3, "bf16": 21.7, "fp16": 21.4, "int8": 13.0, "int4": 10.6, KV: 18.2},
    attention_gflop_s=2.2,
    layer_s=0.23e-3,
    start_s=3.0,
    open_gb_s={"": 2.0, "int8": 0.3, "int4": 0.15},
)  # fmt: skip
