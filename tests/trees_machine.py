"""Recorded trees of accelerators and laptops, cut to what the probe reads."""

from __future__ import annotations

from trees import x86

_CPU = "sys/devices/system/cpu"


def hybrid() -> dict[str, str]:
    """An Intel laptop: two performance cores with two threads each, four efficiency cores; power saver."""
    files = x86(cores=2, smt=2, gib=16) | {
        f"{_CPU}/online": "0-7\n",
        "sys/devices/cpu_core/cpus": "0-3\n",
        "sys/devices/cpu_atom/cpus": "4-7\n",
        f"{_CPU}/cpu0/cpufreq/scaling_governor": "powersave\n",
        f"{_CPU}/cpu0/cpufreq/energy_performance_preference": "power\n",
        f"{_CPU}/cpu0/cpufreq/cpuinfo_max_freq": "4800000\n",
        f"{_CPU}/intel_pstate/no_turbo": "1\n",
        "sys/firmware/acpi/platform_profile": "low-power\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
        "proc/self/status": "Cpus_allowed_list:\t0-7\n",
    }
    for n in range(4, 8):
        files[f"{_CPU}/cpu{n}/topology/thread_siblings_list"] = f"{n}\n"
    return files


def dual_socket() -> dict[str, str]:
    """Two sockets of four cores, a cache and a NUMA node each; a third node is memory without cpus."""
    files = x86(cores=8, smt=1, gib=256) | {
        "sys/devices/system/node/online": "0-2\n",
        "sys/devices/system/node/node0/cpulist": "0-3\n",
        "sys/devices/system/node/node1/cpulist": "4-7\n",
        "sys/devices/system/node/node2/cpulist": "\n",
    }
    for n in range(8):
        files[f"{_CPU}/cpu{n}/topology/physical_package_id"] = f"{n // 4}\n"
        files[f"{_CPU}/cpu{n}/cache/index1/shared_cpu_list"] = "0-3\n" if n < 4 else "4-7\n"
        files[f"{_CPU}/cpu{n}/cache/index0/type"] = "Data\n"
        files[f"{_CPU}/cpu{n}/cache/index1/type"] = "Unified\n"
    return files


BIG_LITTLE = {
    "proc/cpuinfo": "".join(f"processor\t: {n}\nFeatures\t: fp asimd asimddp i8mm\n\n" for n in range(8)),
    f"{_CPU}/online": "0-7\n",
    **{f"{_CPU}/cpu{n}/cpu_capacity": "414\n" if n < 4 else "1024\n" for n in range(8)},
}  # as an RK3588

WSL = x86() | {"proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2\n"}
KVM = x86() | {"sys/class/dmi/id/sys_vendor": "QEMU\n", "proc/cpuinfo": "processor : 0\nflags : fpu hypervisor avx2\n"}
PODMAN = x86() | {"run/.containerenv": "", "proc/self/cgroup": "0::/\n"}

_CARD = "sys/class/drm/card0/device"

APU = {
    f"{_CARD}/vendor": "0x1002\n",
    f"{_CARD}/device": "0x15bf\n",
    f"{_CARD}/uevent": "DRIVER=amdgpu\nPCI_CLASS=30000\nPCI_ID=1002:15BF\n",
    f"{_CARD}/mem_info_vram_total": f"{512 << 20}\n",
    f"{_CARD}/mem_info_vram_used": f"{300 << 20}\n",
    f"{_CARD}/mem_info_gtt_total": f"{14 << 30}\n",
    f"{_CARD}/pp_dpm_sclk": "0: 800Mhz *\n1: 1100Mhz\n2: 2700Mhz\n",
    f"{_CARD}/hwmon/hwmon3/power1_average": "9032000\n",
    "sys/class/drm/card0-eDP-1/status": "connected\n",
    "sys/class/drm/version": "drm 1.1.0 20060810\n",
}
RADEON = {
    f"{_CARD}/vendor": "0x1002\n",
    f"{_CARD}/device": "0x744c\n",
    f"{_CARD}/uevent": "DRIVER=amdgpu\n",
    f"{_CARD}/product_name": "Radeon RX 7900 XTX\n",
    f"{_CARD}/mem_info_vram_vendor": "samsung\n",
    f"{_CARD}/mem_info_vram_total": f"{24 << 30}\n",
    f"{_CARD}/mem_info_vram_used": f"{1 << 30}\n",
    f"{_CARD}/mem_info_gtt_total": f"{32 << 30}\n",
    f"{_CARD}/hwmon/hwmon1/power1_cap": "327000000\n",
    f"{_CARD}/hwmon/hwmon1/power1_average": "21000000\n",
}
XE = {
    f"{_CARD}/vendor": "0x8086\n",
    f"{_CARD}/device": "0xe20b\n",
    f"{_CARD}/uevent": "DRIVER=xe\n",
    f"{_CARD}/tile0/physical_vram_size_bytes": f"{12 << 30}\n",
    f"{_CARD}/tile0/gt0/freq0/max_freq": "2850\n",
    f"{_CARD}/hwmon/hwmon2/energy1_input": "123456789\n",
    f"{_CARD}/hwmon/hwmon2/power1_max": "190000000\n",
}
IRIS = {
    f"{_CARD}/vendor": "0x8086\n",
    f"{_CARD}/device": "0x46a6\n",
    f"{_CARD}/uevent": "DRIVER=i915\n",
    "sys/class/drm/card0/gt_max_freq_mhz": "1400\n",
}

_ACCEL = "sys/class/accel/accel0/device"
VPU = {
    f"{_ACCEL}/vendor": "0x8086\n",
    f"{_ACCEL}/device": "0x7d1d\n",
    f"{_ACCEL}/uevent": "DRIVER=intel_vpu\n",
    "dev/accel/accel0": "",
}
XDNA = {
    f"{_ACCEL}/vendor": "0x1022\n",
    f"{_ACCEL}/device": "0x17f0\n",
    f"{_ACCEL}/uevent": "DRIVER=amdxdna\n",
    f"{_ACCEL}/vbnv": "RyzenAI-npu4\n",
    f"{_ACCEL}/fw_version": "255.0.5.35\n",
    "dev/accel/accel0": "",
}
HEXAGON = {"dev/fastrpc-cdsp": "", "dev/fastrpc-cdsp-secure": "", "proc/device-tree/model": "Lenovo ThinkPad T14s\0"}
