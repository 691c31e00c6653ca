"""What stands between this process and the bare machine: a hypervisor, a container, an emulator."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

from phibench.probe.system import cpu, sysctl, text_files, windows

# sys_vendor or product_name (DMI) -> hypervisor. Names as systemd-detect-virt documents them.
_VENDORS = {
    "QEMU": "KVM or QEMU", "KVM": "KVM", "Amazon EC2": "Amazon EC2 (Nitro or Xen)", "VMware": "VMware",
    "innotek GmbH": "VirtualBox", "VirtualBox": "VirtualBox", "Xen": "Xen", "Bochs": "Bochs", "Parallels": "Parallels",
    "BHYVE": "bhyve", "Hyper-V": "Hyper-V", "Google Compute Engine": "Google Compute Engine", "OpenStack": "OpenStack",
    "Apple Virtualization": "Apple Virtualization",
}  # fmt: skip
_CGROUP = {"docker": "docker", "libpod": "podman", "kubepods": "kubernetes", "lxc": "lxc", "machine.slice": "nspawn"}


def hypervisor(root: Path = cpu.ROOT) -> str | None:
    """Its name, "a hypervisor" where only its presence shows, or None for none that shows."""
    if wsl := _wsl(root):
        return wsl
    for file in ("sys_vendor", "product_name"):
        text = text_files.text(root / "sys/class/dmi/id" / file, 200)
        for words, name in _VENDORS.items():
            if words in text:
                return name
    kind = cpu.clean(text_files.text(root / "sys/hypervisor/type", 64))
    if kind:
        return kind.capitalize()
    flags = re.search(r"^flags[ \t]*:(.*)$", text_files.text(root / "proc/cpuinfo", 1 << 16), re.MULTILINE)
    if flags and "hypervisor" in flags[1].split():
        return "a hypervisor"
    if root == cpu.ROOT and sys.platform == "darwin" and sysctl.number("kern.hv_vmm_present") == 1:
        return "a hypervisor"
    return None


def _wsl(root: Path) -> str | None:
    release = text_files.text(root / "proc/sys/kernel/osrelease", 256).lower()
    if "microsoft" not in release:
        return None
    return "WSL2" if "wsl2" in release or "microsoft-standard" in release else "WSL1"


def container(root: Path = cpu.ROOT) -> str | None:
    """docker, podman, kubernetes, lxc or nspawn, by the marks they leave; None where there are none."""
    named = re.search(r"(?:^|\0)container=([a-z0-9-]{1,30})", text_files.text(root / "proc/1/environ", 1 << 16))
    if named:
        return named[1]
    if (root / "run/.containerenv").exists():
        return "podman"
    groups = text_files.text(root / "proc/self/cgroup", 1 << 16)
    for words, name in _CGROUP.items():
        if words in groups:
            return name
    return "docker" if (root / ".dockerenv").exists() else None


def emulated(root: Path = cpu.ROOT) -> str | None:
    """What this Python runs as and on, where an emulator translates it: that costs a factor, and AVX."""
    mine = platform.machine().lower()
    if root != cpu.ROOT or sys.platform == "linux":
        info = text_files.text(root / "proc/cpuinfo", 1 << 16)
        arm = re.search(r"^CPU implementer[ \t]*:", info, re.MULTILINE) or "VirtualApple" in info
        x86 = mine in {"x86_64", "amd64", "i686"}
        return f"{mine} Python on an arm64 processor" if x86 and arm and root == cpu.ROOT else None
    if sys.platform == "darwin":
        return "x86_64 Python under Rosetta 2" if sysctl.number("sysctl.proc_translated") == 1 else None
    return windows.emulated()
