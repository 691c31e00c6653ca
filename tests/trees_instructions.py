"""What processors tell of their instruction sets, cut to the words that a probe might look at."""

from __future__ import annotations


def linux(flags: str, key: str = "flags") -> dict[str, str]:
    return {
        "proc/cpuinfo": f"processor\t: 0\n{key}\t\t: {flags}\n\nprocessor\t: 1\n{key}\t\t: {flags}\n\n",
        "sys/devices/system/cpu/online": "0-1\n",
    }


_X86 = "fpu sse2 ssse3 fma cx16 sse4_1 sse4_2 avx f16c bmi1 avx2 bmi2"
_SKYLAKE = "avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl"
ZEN_3 = linux(f"{_X86} sse4a misalignsse vaes vpclmulqdq")
ZEN_4 = linux(f"{_X86} sse4a {_SKYLAKE} avx512_bf16 avx512vbmi avx512_vbmi2 gfni avx512_vnni avx512_bitalg")
ALDER_LAKE = linux(f"{_X86} sha_ni avx_vnni dtherm hwp gfni vaes vpclmulqdq serialize pconfig")
SAPPHIRE_RAPIDS = linux(
    f"{_X86} {_SKYLAKE} avx_vnni avx512_bf16 avx512vbmi avx512_vbmi2 gfni avx512_vnni amx_bf16 "
    "avx512_fp16 amx_tile amx_int8"
)
GRAVITON_3 = linux(
    "fp asimd evtstrm aes atomics fphp asimdhp cpuid asimdrdm jscvt fcma asimddp sha512 sve asimdfhm svei8mm svebf16 "
    "i8mm bf16 dgh rng",
    "Features",
)
PI_4 = linux("fp asimd evtstrm crc32 cpuid", "Features")
RISC_V = {"proc/cpuinfo": "processor\t: 0\nisa\t\t: rv64imafdcv\n", "sys/devices/system/cpu/online": "0\n"}

# sysctl of macOS: names with their numbers, and names with their words
APPLE_M4 = {
    "hw.optional.arm64": 1,
    **{f"hw.optional.arm.FEAT_{name}": 1 for name in ("DotProd", "I8MM", "BF16", "FP16", "SME", "SME2")},
}
APPLE_M1 = {**APPLE_M4, **{f"hw.optional.arm.FEAT_{name}": 0 for name in ("I8MM", "BF16", "SME", "SME2")}}
INTEL_MAC = {
    "machdep.cpu.features": "FPU SSE SSE2 SSSE3 FMA SSE4.1 SSE4.2 AVX1.0 RDRAND F16C",
    "machdep.cpu.leaf7_features": "BMI1 AVX2 BMI2 AVX512F AVX512BW AVX512VNNI",
}
