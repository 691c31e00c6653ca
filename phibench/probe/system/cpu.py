"""What the processor is called and how many cores, caches and instruction sets it has."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path

from phibench.core.nouns import Noun
from phibench.probe.system import arm, cgroup, kinds, sysctl, text_files, topology, windows

ROOT = Path("/")
_CPUS = "sys/devices/system/cpu"
_INFO_CHARS = 1 << 16  # the kernel makes /proc/cpuinfo as it is read: the first entries tell all

# Where architectures without "model name" put a name: LoongArch, MIPS, POWER, RISC-V.
_NAME_KEYS = ("model name", "Model Name", "cpu model", "cpu", "uarch")
_ANY_ARM = re.compile(r"(ARMv[0-9]|AArch64 Processor)")  # kernels that call every one "ARMv7 Processor rev 3 (v7l)"
_IBM_Z = re.compile(r"^processor [0-9]{1,4}: .*\bmachine = ([0-9A-F]{1,8})$", re.MULTILINE)
_NUMBER = re.compile(r"^(?:processor|cpu number)\s*:\s*([0-9]{1,4})\s*$", re.MULTILINE)  # "cpu number": IBM Z
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
        told = clean(next(filter(None, (_value(info, key) for key in _NAME_KEYS)), ""))
        told = "" if told == "unknown" else told  # gVisor
        return told if told and not _ANY_ARM.match(told) else _arm_name(root) or told or _ibm_z(info)
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


def _ibm_z(info: str) -> str:
    """``IBM/S390 2964``: a z13, by the number of the machine."""
    machine = _IBM_Z.search(info)
    return f"IBM/S390 {machine[1]}" if machine else ""


def _arm_name(root: Path) -> str:
    """``Raspberry Pi 5 Model B Rev 1.0 (4 x Cortex-A76)``: device tree for the board, part numbers for cores."""
    board, cores = clean(text_files.text(root / "proc/device-tree/model", 200)), clean(arm.name(root))
    return f"{board} ({cores})" if board and cores else board or cores


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
    """Numbers of the logical cpus that run, as sysfs has them; at least one."""
    return usable(root)[0]


def usable(root: Path = ROOT) -> tuple[frozenset[int], frozenset[int]]:
    """Logical cpus that run, and of these what the scheduler may give to this process; at least one."""
    mine = affinity(root)
    listed = text_files.cpu_list(text_files.text(root / _CPUS / "online"))
    if not listed:
        info = text_files.text(root / "proc/cpuinfo")
        listed = frozenset(map(int, _NUMBER.findall(info)))
    return topology.agree(listed or mine or frozenset(range(os.cpu_count() or 1)), mine)


def affinity(root: Path = ROOT) -> frozenset[int]:
    """Logical cpus that the scheduler may give to this process; empty when nobody tells."""
    if root != ROOT:
        found = re.search(r"^Cpus_allowed_list:(.*)$", text_files.text(root / "proc/self/status"), re.MULTILINE)
        listed = text_files.cpu_list(found[1]) if found else frozenset()
        cpuset = cgroup.cpuset(cgroup.groups(root), "cpus")
        return listed & cpuset or listed or cpuset
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    import psutil

    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        if hasattr(process, "cpu_affinity"):  # Windows, FreeBSD
            return frozenset(process.cpu_affinity() or ())
    return frozenset()


def cores(root: Path, cpus: frozenset[int]) -> int:
    """Physical cores among ``cpus``; where no topology is told every cpu counts as a core."""
    if root == ROOT and sys.platform != "linux":
        import psutil

        return min(psutil.cpu_count(logical=False) or len(cpus), len(cpus))
    return len(topology.cores(root, cpus))


def fast_cores(root: Path, cpus: frozenset[int]) -> int:
    """Physical performance cores among ``cpus``; all where there is one kind, or nobody tells."""
    if root == ROOT and sys.platform != "linux":
        return min(_fast_elsewhere() or cores(root, cpus), len(cpus))
    return len(topology.cores(root, kinds.kinds(root, cpus).fast))


def worth(root: Path, cpus: frozenset[int]) -> list[float]:
    """What each core among ``cpus`` is worth to :func:`kinds.threads`.

    Sources: llama.cpp issues 842, 934, 28625 (Intel hybrid), 7176, 14532 (ARM big.LITTLE), whisper.cpp issue 1248.
    """
    if root == ROOT and sys.platform != "linux":
        fast, every = fast_cores(root, cpus), cores(root, cpus)
        return [1.0] * fast + [kinds.EFFICIENCY] * (every - fast)
    of_cpu = kinds.kinds(root, cpus).worth
    return [max(of_cpu[cpu] for cpu in core) for core in topology.cores(root, cpus)]


def _fast_elsewhere() -> int:
    """Performance cores that macOS or Windows tells of, or 0."""
    if sys.platform == "darwin":
        return sum(
            sysctl.number(f"hw.perflevel{level}.physicalcpu") or 0
            for level in range(sysctl.number("hw.nperflevels") or 0)
            if sysctl.text(f"hw.perflevel{level}.name") != "Efficiency"  # their order is not promised
        )
    classes = windows.cores()  # the highest efficiency class is the fastest
    return classes[max(classes)] if classes else 0


def cache_bytes(root: Path, cpus: frozenset[int]) -> int | None:
    """All last-level caches that ``cpus`` reach, each shared one counted once."""
    caches: dict[tuple[int, frozenset[int]], int] = {}
    for cpu in topology.shown(root, cpus):
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
