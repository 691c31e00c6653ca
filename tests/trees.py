"""Machines as trees of files: what Linux shows under / there, cut to what the probe reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

GIB = 1 << 30
KIB_PER_GIB = 1 << 20


def plant(root: Path, files: dict[str, str]) -> Path:
    if os.name == "nt" and any(":" in name for name in files):
        pytest.skip("Windows has no file with a colon in its name, as intel-rapl:0 is")
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return root


def x86(cores: int = 8, smt: int = 2, gib: int = 32, free_gib: int = 20) -> dict[str, str]:
    """A desktop: cpu N and cpu N + cores share a core, all share 32 MiB of L3."""
    count = cores * smt
    entry = "processor\t: {}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD Ryzen 7  5800X 8-Core Processor\n"
    entry += "flags\t\t: fpu sse2 ssse3 sse4_2 avx avx2 fma f16c smep\n\n"
    files = {
        "proc/cpuinfo": "".join(entry.format(n) for n in range(count)),
        "proc/meminfo": f"MemTotal:       {gib * KIB_PER_GIB} kB\nMemFree:        {KIB_PER_GIB} kB\n"
        f"MemAvailable:   {free_gib * KIB_PER_GIB} kB\n",
        "proc/self/status": f"Name:\tpython\nCpus_allowed:\tffff\nCpus_allowed_list:\t0-{count - 1}\n",
        "sys/devices/system/cpu/online": f"0-{count - 1}\n",
    }
    for n in range(count):
        siblings = ",".join(str(n % cores + cores * t) for t in range(smt))
        base = f"sys/devices/system/cpu/cpu{n}"
        files[f"{base}/topology/thread_siblings_list"] = f"{siblings}\n"
        for index, (level, size, shared) in enumerate(((1, "32K", siblings), (3, "32768K", f"0-{count - 1}"))):
            files[f"{base}/cache/index{index}/level"] = f"{level}\n"
            files[f"{base}/cache/index{index}/size"] = f"{size}\n"
            files[f"{base}/cache/index{index}/shared_cpu_list"] = f"{shared}\n"
    return files


def v2(path: str, groups: dict[str, dict[str, str]], top: str = "/") -> dict[str, str]:
    """cgroup version 2 as systemd mounts it; ``groups``: path below the mount -> its files."""
    return {
        "proc/self/cgroup": f"0::{path}\n",
        "proc/self/mountinfo": "22 27 0:21 / /proc rw,relatime shared:12 - proc proc rw\n"
        f"30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    } | {f"sys/fs/cgroup{group}/{file}": text for group, files in groups.items() for file, text in files.items()}


DOCKER_V1 = {
    # A container without a cgroup namespace: the path of the host, of which only the own group is mounted.
    "proc/self/cgroup": "12:memory:/docker/abc\n11:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
    "proc/self/mountinfo": "701 700 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:11 - cgroup cgroup "
    "rw,cpu,cpuacct\n702 700 0:31 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:12 - cgroup cgroup rw,memory\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_periods 100\nnr_throttled 7\nthrottled_time 900\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 0\nactive_file 0\n"
    f"total_inactive_file {GIB}\ntotal_active_file {GIB}\n",
}

# Version 1 controllers each at their own place, version 2 mounted beside them without any controller.
HYBRID = {
    "proc/self/cgroup": "9:name=systemd:/\n4:memory:/jobs/one\n2:cpuacct:/\n1:cpu:/\n0::/\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{6 * GIB}\n",
    "sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": f"{8 * GIB}\n",
    "sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": f"{5 * GIB}\n",
    "sys/fs/cgroup/memory/jobs/memory.stat": "total_inactive_file 0\ntotal_active_file 0\n",
    "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/unified/cgroup.controllers": "\n",
}


def arm(*parts: tuple[str, str], board: str = "") -> dict[str, str]:
    """An ARM board; ``parts`` are (implementer, part) of each cpu."""
    entry = "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd aes asimddp\nCPU implementer\t: {}\n"
    entry += "CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {}\nCPU revision\t: 1\n\n"
    text = "".join(entry.format(n, maker, part) for n, (maker, part) in enumerate(parts))
    files = {
        "proc/cpuinfo": text + "Revision\t: c04170\nSerial\t\t: 0123456789abcdef\n",
        "proc/meminfo": f"MemTotal: {8 * KIB_PER_GIB} kB\nMemAvailable: {6 * KIB_PER_GIB} kB\n",
        "sys/devices/system/cpu/online": f"0-{len(parts) - 1}\n",
    }
    return files | ({"proc/device-tree/model": f"{board}\0"} if board else {})
