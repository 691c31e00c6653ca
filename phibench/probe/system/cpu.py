"""What the processor is called and how many cores, caches and instruction sets it has."""

from __future__ import annotations

import os
import platform
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from phibench.core.nouns import Noun
from phibench.probe.system import sysctl, text_files, windows

ROOT = Path("/")
_CPUS = "sys/devices/system/cpu"
_INFO_CHARS = 1 << 16  # the kernel makes /proc/cpuinfo as it is read: the first entries tell all

# Where architectures without "model name" put a name: LoongArch, MIPS, POWER, RISC-V.
_NAME_KEYS = ("model name", "Model Name", "cpu model", "cpu", "uarch")
# Instruction sets that inference engines have kernels for (ggml-cpu, oneDNN, MLAS): x86, then ARM.
_ISA = re.compile(r"sse4_2|avx\w*|amx_\w+|fma|f16c|asimd\w*|fphp|i8mm|bf16|sve\w*|sme\d*")

# hw.optional.arm.FEAT_* (Apple, "Determining Instruction Set Characteristics"); no Apple processor has SVE.
_APPLE = {"DotProd": "asimddp", "I8MM": "i8mm", "BF16": "bf16", "FP16": "asimdhp", "SME": "sme", "SME2": "sme2"}
# Words of machdep.cpu.features and leaf7_features (xnu, osfmk/i386/cpuid.c). No Mac has AVX-VNNI or AMX of Intel.
_INTEL_MAC = {"SSE4.2": "sse4_2", "AVX1.0": "avx", "FMA": "fma", "F16C": "f16c", "AVX2": "avx2", "AVX512F": "avx512f",
              "AVX512BW": "avx512bw", "AVX512VNNI": "avx512_vnni"}  # fmt: skip


class Cpu(Noun, frozen=True, kw_only=True):
    """One machine's processors together. ``flags``: instruction sets that matter here, space between."""

    name: str
    arch: str
    physical_cores: int
    logical_cores: int
    flags: str = ""
    cache_bytes: int | None = None  # all last-level caches; None where the system does not say


def cpu(root: Path = ROOT) -> Cpu:
    """Never raises: what cannot be read is guessed from what can, or unknown."""
    cpus = online(root)
    arch = platform.machine().lower()
    return Cpu(
        name=name(root) or f"{arch or 'unknown'} processor",
        arch={"amd64": "x86_64", "aarch64": "arm64"}.get(arch, arch),
        physical_cores=cores(root, cpus),
        logical_cores=len(cpus),
        flags=flags(root),
        cache_bytes=cache_bytes(root, cpus),
    )


# ------------------------------------------------------------------------------------------------- names


def name(root: Path = ROOT) -> str:
    """The maker's name without padding, on ARM boards the board and its cores; empty when nobody tells."""
    info = text_files.text(root / "proc/cpuinfo", _INFO_CHARS)
    if info or root != ROOT:
        return clean(next(filter(None, (_value(info, key) for key in _NAME_KEYS)), "")) or _arm_name(root, info)
    if sys.platform == "darwin":
        return clean(sysctl.text("machdep.cpu.brand_string"))
    if sys.platform == "win32":
        return clean(_registry_name())
    return ""


def flags(root: Path = ROOT) -> str:
    """Instruction sets that inference engines ask for, in Linux's names and the order of the system."""
    info = text_files.text(root / "proc/cpuinfo", _INFO_CHARS)
    words = (_value(info, "flags") or _value(info, "Features")).split()
    if not words and root == ROOT:
        words = [*macos_flags(), *windows.features()]
    return " ".join(filter(_ISA.fullmatch, words))


def macos_flags(
    text: Callable[[str], str] = sysctl.text, number: Callable[[str], int | None] = sysctl.number
) -> list[str]:
    """What sysctl tells, in Linux's names: Apple's processors one by one, Intel's in lists."""
    arm = [linux for feature, linux in _APPLE.items() if number(f"hw.optional.arm.FEAT_{feature}") == 1]
    if arm or number("hw.optional.arm64") == 1:
        return ["asimd", *arm]
    told = f"{text('machdep.cpu.features')} {text('machdep.cpu.leaf7_features')}".split()
    return [linux for name, linux in _INTEL_MAC.items() if name in told]


def _value(info: str, key: str) -> str:
    found = re.search(rf"^{re.escape(key)}[ \t]*:[ \t]*(\S.*)$", info, re.MULTILINE)
    return found[1] if found else ""


def clean(words: str) -> str:
    """One line of printable words: files from the system are not trusted further than that."""
    printable = "".join(c if c.isprintable() and c != "\ufffd" else " " for c in words)
    return " ".join(printable.split())[:100]


def _arm_name(root: Path, info: str) -> str:
    """``Raspberry Pi 5 Model B Rev 1.0 (4 x Cortex-A76)``: device tree for the board, part numbers for cores."""
    board = clean(text_files.text(root / "proc/device-tree/model", 200))
    makers = re.findall(r"^CPU implementer\s*:\s*(0x[0-9a-fA-F]+)\s*$", info, re.MULTILINE | re.ASCII)
    parts = re.findall(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)\s*$", info, re.MULTILINE | re.ASCII)
    if not parts or len(makers) != len(parts):
        return board
    table = tomllib.loads((Path(__file__).parent / "arm_cores.toml").read_text(encoding="utf-8"))
    names = [
        table.get(maker.lower(), {}).get(part.lower(), f"ARM core {maker}/{part}")
        for maker, part in zip(makers, parts, strict=True)
    ]
    text = clean(" + ".join(f"{names.count(core)} x {core}" for core in dict.fromkeys(names)))
    return f"{board} ({text})" if board else text


def _registry_name() -> str:
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0])
    except OSError:
        return ""


# ------------------------------------------------------------------------------------------------- cores


def online(root: Path = ROOT) -> frozenset[int]:
    """Numbers of the logical cpus that run; at least one."""
    listed = text_files.cpu_list(text_files.text(root / _CPUS / "online"))
    if not listed:
        info = text_files.text(root / "proc/cpuinfo")
        listed = frozenset(int(n) for n in re.findall(r"^processor\s*:\s*([0-9]{1,4})\s*$", info, re.MULTILINE))
    return listed or frozenset(range(os.cpu_count() or 1))


def cores(root: Path, cpus: frozenset[int]) -> int:
    """Physical cores among ``cpus``; where no topology is told every cpu counts as a core."""
    if root == ROOT and sys.platform != "linux":
        import psutil

        return min(psutil.cpu_count(logical=False) or len(cpus), len(cpus))
    return len({_siblings(root, cpu) & cpus | {cpu} for cpu in cpus})


def fast_cores(root: Path, cpus: frozenset[int]) -> int:
    """Physical performance cores among ``cpus``: one slow core holds up all others at every barrier.

    Sources: llama.cpp issues 842, 934 (Intel hybrid), 7176, 14532 (ARM big.LITTLE).
    """
    if root == ROOT and sys.platform == "darwin":
        levels = range(sysctl.number("hw.nperflevels") or 0)
        found = sum(
            sysctl.number(f"hw.perflevel{level}.physicalcpu") or 0
            for level in levels
            if sysctl.text(f"hw.perflevel{level}.name") != "Efficiency"  # their order is not promised
        )
        return min(found or cores(root, cpus), len(cpus))
    if root == ROOT and sys.platform == "win32":
        classes = windows.cores()  # the highest efficiency class is the fastest
        return min(classes[max(classes)] if classes else cores(root, cpus), len(cpus))
    return cores(root, _fast(root, cpus))


def _siblings(root: Path, cpu: int) -> frozenset[int]:
    return text_files.cpu_list(text_files.text(root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list", 4096))


def _fast(root: Path, cpus: frozenset[int]) -> frozenset[int]:
    intel = text_files.cpu_list(text_files.text(root / "sys/devices/cpu_core/cpus", 4096)) & cpus
    if intel:
        return intel
    # Half of the strongest parts little from big: an RK3588 shows 1024 for its A76 and about 400 for its A55.
    # Clocks lie closer: 5.1 and 3.5 GHz for Zen 5 and 5c; the best cores of one kind differ by a twentieth.
    for file, least in (("cpu_capacity", 0.5), ("cpufreq/cpuinfo_max_freq", 0.75)):
        strength = {cpu: text_files.number(root / _CPUS / f"cpu{cpu}" / file) or 0 for cpu in cpus}
        if min(strength.values()) > 0:
            return frozenset(cpu for cpu in cpus if strength[cpu] >= least * max(strength.values()))
    return cpus


def cache_bytes(root: Path, cpus: frozenset[int]) -> int | None:
    """All last-level caches that ``cpus`` reach, each shared one counted once."""
    caches: dict[tuple[int, frozenset[int]], int] = {}
    for cpu in cpus:
        for index in range(8):
            folder = root / _CPUS / f"cpu{cpu}/cache/index{index}"
            level = text_files.number(folder / "level")
            if level is None:
                break
            size = re.fullmatch(r"([0-9]{1,9})K\s*", text_files.text(folder / "size", 64))
            if size:
                shared = text_files.cpu_list(text_files.text(folder / "shared_cpu_list", 4096)) or frozenset({cpu})
                caches[level, shared] = int(size[1]) << 10
    last = max((level for level, _ in caches), default=None)
    return sum(size for (level, _), size in caches.items() if level == last) or None
