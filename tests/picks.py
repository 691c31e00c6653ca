"""What an expert would say: for a machine and a goal the Phi, its build, and how well it serves.

Written before the code that must meet it. ``levels``: of the first row. A row that turns out to be wrong is changed
with its reason beside it, never to please the code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from phibench.core.nouns import Machine
from phibench.machine.asked import described


class Pick(NamedTuple):
    machine: str
    goal: str
    variants: tuple[str, ...]
    builds: tuple[str, ...]
    levels: tuple[str, ...]


# As ``phibench recommend`` takes them: names of the hardware table, GiB of memory, system; ``cpus``: a container's.
MACHINES: dict[str, dict[str, Any]] = {
    "Pi 5, 4 GB": {"cpu": "Raspberry Pi 5", "ram": 4, "os": "linux"},
    "Pi 5, 8 GB": {"cpu": "Raspberry Pi 5", "ram": 8, "os": "linux"},
    "Pi 5, 16 GB": {"cpu": "Raspberry Pi 5", "ram": 16, "os": "linux"},
    "iPhone 15 Pro": {"cpu": "A17 Pro", "ram": 8, "os": "ios"},
    "Android phone, 8 GB": {"cpu": "Snapdragon 8 Gen 2", "ram": 8, "os": "android"},
    "Android phone, 16 GB": {"cpu": "Snapdragon 8 Elite", "ram": 16, "os": "android"},
    "mini PC N100, 16 GB": {"cpu": "Intel N100", "ram": 16, "os": "linux", "gpu": "none"},
    "laptop, 8 GB": {"cpu": "Core i5-1235U", "ram": 8, "os": "windows", "gpu": "none"},
    "laptop, 16 GB": {"cpu": "Core i7-1260P", "ram": 16, "os": "windows", "gpu": "none"},
    "laptop, 32 GB": {"cpu": "Ryzen 7 7840U", "ram": 32, "os": "linux", "gpu": "none"},
    "laptop with 4 GB GPU": {"cpu": "Core i5-12500H", "gpu": "RTX 3050 Laptop 4 GB", "ram": 16, "os": "windows"},
    "laptop with 8 GB GPU": {"cpu": "Core i7-13700H", "gpu": "RTX 4060 Laptop", "ram": 16, "os": "windows"},
    "M1, 8 GB": {"cpu": "Apple M1", "ram": 8, "os": "macos"},
    "M2, 16 GB": {"cpu": "Apple M2", "ram": 16, "os": "macos"},
    "M4 Pro, 24 GB": {"cpu": "Apple M4 Pro", "ram": 24, "os": "macos"},
    "M3 Pro, 36 GB": {"cpu": "Apple M3 Pro", "ram": 36, "os": "macos"},
    "M3 Max, 64 GB": {"cpu": "Apple M3 Max (40-core GPU)", "ram": 64, "os": "macos"},
    "M4 Max, 128 GB": {"cpu": "Apple M4 Max (40-core GPU)", "ram": 128, "os": "macos"},
    "RTX 3060": {"cpu": "Ryzen 5 5600", "gpu": "RTX 3060 12 GB", "ram": 32, "os": "linux"},
    "RTX 4060": {"cpu": "Ryzen 5 5600", "gpu": "RTX 4060", "ram": 32, "os": "windows"},
    "RTX 3080": {"cpu": "Ryzen 7 5800X", "gpu": "RTX 3080 10 GB", "ram": 32, "os": "windows"},
    "RTX 4070 SUPER": {"cpu": "Core i5-13600K", "gpu": "RTX 4070 SUPER", "ram": 32, "os": "windows"},
    "RTX 4080": {"cpu": "Ryzen 7 7800X3D", "gpu": "RTX 4080", "ram": 32, "os": "windows"},
    "RTX 3090": {"cpu": "Ryzen 9 5950X", "gpu": "RTX 3090", "ram": 64, "os": "linux"},
    "RTX 4090": {"cpu": "Core i9-13900K", "gpu": "RTX 4090", "ram": 64, "os": "linux"},
    "RTX 5090": {"cpu": "Ryzen 9 9950X", "gpu": "RTX 5090", "ram": 64, "os": "linux"},
    "two RTX 3090": {"cpu": "Ryzen 9 5950X", "gpu": "RTX 3090", "gpus": 2, "ram": 64, "os": "linux"},
    "RX 7900 XTX": {"cpu": "Ryzen 7 7800X3D", "gpu": "Radeon RX 7900 XTX", "ram": 32, "os": "linux"},
    "Arc B580": {"cpu": "Core i5-14400", "gpu": "Arc B580", "ram": 32, "os": "windows"},
    "A100 40 GB": {"cpu": "EPYC 7763", "gpu": "A100 SXM4 40 GB", "ram": 256, "os": "linux"},
    "H100": {"cpu": "Xeon Platinum 8480+", "gpu": "H100 SXM5 80 GB", "ram": 512, "os": "linux"},
    "EPYC 9654": {"cpu": "EPYC 9654", "ram": 384, "os": "linux", "gpu": "none"},
    "container, 2 CPUs, 4 GB": {"cpu": "EPYC 7543", "ram": 4, "os": "linux", "gpu": "none", "cpus": 2},
    "Snapdragon X Elite, 16 GB": {"cpu": "Snapdragon X Elite X1E-80-100", "ram": 16, "os": "windows"},
    "Core Ultra 258V, 32 GB": {"cpu": "Core Ultra 7 258V", "ram": 32, "os": "windows"},
    "Strix Halo, 128 GB": {"cpu": "Ryzen AI Max+ 395", "ram": 128, "os": "linux"},
    "Jetson Orin Nano": {"cpu": "Jetson Orin Nano 8GB Super", "ram": 8, "os": "linux"},
    "Jetson AGX Orin": {"cpu": "Jetson AGX Orin 64GB", "ram": 64, "os": "linux"},
    "DGX Spark": {"cpu": "DGX Spark (GB10)", "ram": 128, "os": "linux"},
}


def machine(name: str) -> Machine:
    """One of MACHINES."""
    told = MACHINES[name]
    gpu = f"{told['gpus']}x {told['gpu']}" if "gpus" in told else told.get("gpu")
    return described(gpu, told["cpu"], f"{told['ram']}GiB", told["os"], cpus=told.get("cpus")).machine


MINI, PHI4, MOE = "phi-4-mini-instruct", "phi-4", "phi-3.5-moe-instruct"
MINI_THINKS, THINKS, THINKS_MORE = "phi-4-mini-reasoning", "phi-4-reasoning", "phi-4-reasoning-plus"
SEES, HEARS, SEES_15B = "phi-3.5-vision-instruct", "phi-4-multimodal-instruct", "phi-4-reasoning-vision-15b"

SMALL = (MINI, "phi-2", "phi-1.5", "phi-3.5-mini-instruct", "phi-3-mini-4k-instruct")

FOUR = ("Q4_K_M", "Q4_K_S", "IQ4_XS", "IQ4_NL", "Q5_K_S", "Q5_K_M")  # as small as it gets without being heard
FINE = ("Q5_K_S", "Q5_K_M", "Q6_K")
FINEST = ("Q6_K", "Q8_0")
NOT_COARSE = (*FOUR, *FINEST)
GENAI = ("int4", *NOT_COARSE, "bf16", "fp16")  # what has an encoder runs where its engine does

COMFORTABLE, USABLE, PERHAPS, NO = "comfortable", "usable", "perhaps", "no"
YES = (COMFORTABLE, USABLE)
NOT_YES = (PERHAPS, NO)

PICKS = (
    # --------------------------------------------------------------------------------------------- boards and phones
    # 17 GB/s: 4 tokens a second of 3.8 B parameters in four bits, and a prompt of 256 takes half a minute.
    # Changed with the code (it said Q3_K_M at least): 3 GiB are left, and with 8k of context four bits take 3.3.
    Pick("Pi 5, 4 GB", "chat", SMALL, (*NOT_COARSE, "Q3_K_M", "Q3_K_L", "Q4_0", "Q3_K_S", "IQ3_XS"), NOT_YES),
    Pick("Pi 5, 8 GB", "chat", (MINI,), (*FOUR, "Q4_0"), NOT_YES),
    Pick("Pi 5, 16 GB", "chat", (MINI,), (*FOUR, "Q4_0"), NOT_YES),
    # an hour for an answer
    Pick("Pi 5, 16 GB", "math", (MINI_THINKS, MINI, PHI4), (*FOUR, "Q4_0"), NOT_YES),
    # half of 8 GB is an app's: four bits, 13 tok/s at most
    # Changed with the code (it said perhaps at least): nobody publishes the FLOP/s of its GPU, and its CPU reads a
    # prompt of 256 tokens in eleven seconds.
    Pick("iPhone 15 Pro", "chat", (MINI,), FOUR, NOT_YES),
    Pick("Android phone, 8 GB", "chat", (MINI,), FOUR, (*YES, PERHAPS)),
    Pick("Android phone, 16 GB", "chat", (MINI,), NOT_COARSE, (*YES, PERHAPS)),
    # text, encoder and picture take more than an app gets
    Pick("Android phone, 8 GB", "vision", (), (), (NO,)),
    # 102 GB/s: 25 tok/s of Q4_K_M, 17 of Q8_0
    Pick("Jetson Orin Nano", "chat", (MINI,), NOT_COARSE, YES),
    # 205 GB/s: 14B in four bits at 13 tok/s, just comfortable
    Pick("Jetson AGX Orin", "chat", (PHI4, MINI), NOT_COARSE, YES),
    # ------------------------------------------------------------------------------------------------- without a GPU
    # one channel, four small cores
    Pick("mini PC N100, 16 GB", "chat", (MINI,), FOUR, (USABLE, *NOT_YES)),
    # 3.5 GB of 8 are Windows'
    Pick("laptop, 8 GB", "chat", (MINI,), NOT_COARSE, (*YES, PERHAPS)),
    # asked for by name
    Pick("laptop, 16 GB", "chat", (MINI,), NOT_COARSE, YES),
    Pick("laptop, 16 GB", "code", (MINI,), NOT_COARSE, (*YES, PERHAPS)),
    # 4,000 tokens of thought, 5 minutes
    Pick("laptop, 16 GB", "math", (MINI_THINKS,), NOT_COARSE, (*YES, PERHAPS)),
    Pick("laptop, 16 GB", "tools", (MINI,), NOT_COARSE, (*YES, PERHAPS)),
    # Changed with the code (it said two minutes to read): a CPU of 15 to 28 W reads 50 tokens a second of a short
    # prompt, and half as many where attention looks back on 16k, so eleven minutes where ten are allowed.
    Pick("laptop, 16 GB", "long-context", (MINI,), NOT_COARSE, NOT_YES),
    # Phi-4 at 6 tok/s is no yes at its worse end
    Pick("laptop, 32 GB", "chat", (MINI,), NOT_COARSE, YES),
    Pick("laptop, 32 GB", "math", (MINI_THINKS,), NOT_COARSE, (*YES, PERHAPS)),
    # Changed with the code (it said mini): the MoE fits with 3 GB left, reads along, and is 20 points better.
    Pick("laptop, 32 GB", "multilingual", (MINI, MOE), NOT_COARSE, (*YES, PERHAPS)),
    # 460 GB/s: 14B at 20 tok/s; memory is no question
    Pick("EPYC 9654", "chat", (PHI4, MOE), NOT_COARSE, YES),
    Pick("EPYC 9654", "code", (PHI4, MINI, MOE), NOT_COARSE, YES),
    # two cores compute a third of what reading asks
    # Changed with the code, as of the Pi with 4 GB.
    Pick("container, 2 CPUs, 4 GB", "chat", (MINI, "phi-2", "phi-1.5"),
         (*FOUR, "Q3_K_M", "Q3_K_L", "Q4_0", "Q3_K_S", "IQ3_XS"), NOT_YES),
    # --------------------------------------------------------------------------------------------- Copilot+ and NPUs
    Pick("Snapdragon X Elite, 16 GB", "chat", (MINI,), NOT_COARSE, YES),
    Pick("Snapdragon X Elite, 16 GB", "math", (MINI_THINKS,), NOT_COARSE, (*YES, PERHAPS)),
    Pick("Core Ultra 258V, 32 GB", "chat", (MINI,), NOT_COARSE, YES),
    Pick("Core Ultra 258V, 32 GB", "code", (MINI,), NOT_COARSE, (*YES, PERHAPS)),
    # ---------------------------------------------------------------------------------------------------- small GPUs
    # four bits and 8k of context fill 4 GB: split, or on the CPU
    Pick("laptop with 4 GB GPU", "chat", (MINI,), NOT_COARSE, YES),
    Pick("laptop with 8 GB GPU", "chat", (MINI,), NOT_COARSE, (COMFORTABLE,)),
    Pick("laptop with 8 GB GPU", "math", (MINI_THINKS, THINKS_MORE, THINKS), NOT_COARSE, YES),
    # Phi-4 is half on the host: slower than it is better
    Pick("RTX 4060", "chat", (MINI,), FINEST, (COMFORTABLE,)),
    Pick("RTX 4060", "code", (MINI,), FINEST, (COMFORTABLE,)),
    # Changed with the code (it said perhaps): onnxruntime-genai keeps logits of all 2,700 tokens of the picture,
    # 200,064 each, so 8 GB are too small for it, and half of the 15B on the host is a hair below reading speed.
    Pick("RTX 4060", "vision", (HEARS, SEES, SEES_15B), GENAI, NOT_YES),
    # 9.05 GB of weights in 10 GB: no room for the context
    Pick("RTX 3080", "chat", (PHI4, MINI), NOT_COARSE, YES),
    # --------------------------------------------------------------------------------------------------------- 12 GB
    # 360 GB/s: 31 tok/s
    Pick("RTX 3060", "chat", (PHI4,), FOUR, (COMFORTABLE,)),
    Pick("RTX 3060", "code", (PHI4,), FOUR, YES),
    Pick("RTX 3060", "math", (THINKS_MORE, THINKS), FOUR, YES),
    # 32k of Phi-4's KV is 6 GB more
    Pick("RTX 3060", "long-context", (MINI,), NOT_COARSE, YES),
    Pick("RTX 3060", "vision", (HEARS, SEES, SEES_15B), GENAI, (*YES, PERHAPS)),
    # the only Phi that hears
    Pick("RTX 3060", "speech", (HEARS,), GENAI, (*YES, PERHAPS)),
    Pick("RTX 4070 SUPER", "chat", (PHI4,), FOUR, (COMFORTABLE,)),
    Pick("RTX 4070 SUPER", "reasoning", (THINKS_MORE, THINKS), FOUR, YES),
    Pick("Arc B580", "chat", (PHI4, MINI), NOT_COARSE, YES),
    # ------------------------------------------------------------------------------------------------------- 16 GB +
    # Q6_K is 12 GB, Q8_0 more than there is
    Pick("RTX 4080", "chat", (PHI4,), (*FOUR, "Q6_K"), (COMFORTABLE,)),
    Pick("RTX 4080", "code", (PHI4,), (*FOUR, "Q6_K"), (COMFORTABLE,)),
    # 24 GB: asked for by name
    Pick("RTX 3090", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("RTX 3090", "code", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("RTX 3090", "math", (THINKS_MORE,), FINEST, (COMFORTABLE,)),
    Pick("RTX 4090", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("RTX 4090", "code", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("RTX 4090", "math", (THINKS_MORE,), FINEST, (COMFORTABLE,)),
    Pick("RTX 4090", "vision", (HEARS, SEES, SEES_15B), GENAI, YES),
    Pick("RTX 4090", "long-context", (MINI, MOE), NOT_COARSE, YES),
    Pick("RX 7900 XTX", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("RX 7900 XTX", "math", (THINKS_MORE,), FINEST, YES),
    Pick("RTX 5090", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("RTX 5090", "math", (THINKS_MORE,), FINEST, (COMFORTABLE,)),
    # one of them is enough
    Pick("two RTX 3090", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("two RTX 3090", "reasoning", (THINKS_MORE,), FINEST, (COMFORTABLE,)),
    Pick("A100 40 GB", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    # bf16 says nothing that Q8_0 does not
    Pick("H100", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("H100", "code", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("H100", "long-context", (MINI, MOE), NOT_COARSE, (COMFORTABLE,)),
    Pick("H100", "speech", (HEARS,), GENAI, YES),
    # --------------------------------------------------------------------------------------------------------- Apple
    # 5.3 GB may be used: up to Q6_K
    Pick("M1, 8 GB", "chat", (MINI,), NOT_COARSE, YES),
    Pick("M2, 16 GB", "chat", (MINI,), NOT_COARSE, (COMFORTABLE,)),
    Pick("M2, 16 GB", "long-context", (MINI,), NOT_COARSE, (*YES, PERHAPS)),
    # 273 GB/s: 20 tok/s of Q4_K_M
    Pick("M4 Pro, 24 GB", "chat", (PHI4,), NOT_COARSE, YES),
    # 150 GB/s: 14B at 11 tok/s; where that is no comfort the mini leads
    Pick("M3 Pro, 36 GB", "chat", (PHI4, MINI), NOT_COARSE, YES),
    Pick("M3 Max, 64 GB", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    Pick("M3 Max, 64 GB", "code", (PHI4,), FINEST, YES),
    Pick("M3 Max, 64 GB", "math", (THINKS_MORE,), NOT_COARSE, YES),
    # Changed with the code (it said yes): from a data sheet Metal's prefill is known within a factor of two, and at its
    # worse end a picture takes 25 seconds where 20 are allowed.
    Pick("M3 Max, 64 GB", "vision", (SEES_15B, SEES, HEARS), GENAI, (*YES, PERHAPS)),
    Pick("M4 Max, 128 GB", "chat", (PHI4,), FINEST, (COMFORTABLE,)),
    # ------------------------------------------------------------------------------------------- large shared memory
    # 256 GB/s: 14B in four bits at 20 tok/s
    Pick("Strix Halo, 128 GB", "chat", (PHI4, MOE), NOT_COARSE, YES),
    Pick("DGX Spark", "chat", (PHI4, MOE), NOT_COARSE, YES),
    Pick("DGX Spark", "code", (PHI4,), NOT_COARSE, YES),
    # ------------------------------------------------------ goals that came later: rows that were added with the code
    # joules and tokens a second of what is good enough: a mini, on a card also the 14B in four bits
    Pick("laptop, 16 GB", "battery", (MINI,), NOT_COARSE, YES),
    Pick("H100", "batch", (PHI4, MINI, MOE), NOT_COARSE, (COMFORTABLE,)),
    Pick("laptop, 16 GB", "batch", (MINI,), NOT_COARSE, YES),
    Pick("Android phone, 16 GB", "phone", (MINI,), NOT_COARSE, (*YES, PERHAPS)),
    Pick("Jetson Orin Nano", "edge", (MINI,), NOT_COARSE, YES),
    # servers: Phi-4 or the mixture of experts
    Pick("H100", "enterprise", (PHI4, MOE), FINEST, (COMFORTABLE,)),
    Pick("EPYC 9654", "enterprise", (PHI4, MOE, MINI), NOT_COARSE, (*YES, PERHAPS)),
    Pick("M3 Max, 64 GB", "multilingual", (MOE, MINI), NOT_COARSE, YES),
    # 14B in bf16 is 29 GB and its adapters little; 12 GB take the mini in four bits
    Pick("H100", "fine-tuning", (PHI4,), ("bf16", "int4"), YES),
    Pick("RTX 3060", "fine-tuning", (MINI,), ("bf16", "int4"), YES),
    Pick("laptop, 16 GB", "fine-tuning", (), (), (NO,)),
)  # fmt: skip
