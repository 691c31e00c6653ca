"""The software that a result depends on, by version."""

from __future__ import annotations

import platform
import re
import sys

from phibench import __version__, backends
from phibench.core import extras


def software() -> dict[str, str]:
    """Versions that a result depends on; what is not installed is left out. No host or user name."""
    found = {
        "os": _os(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "phibench": __version__,
    }
    of_backends = {package for name in backends.names() for package in backends.load(name).PACKAGES}
    for package in sorted({"numpy", "psutil"} | of_backends - {"phibench"}):
        if version := extras.version(package):
            found[package.replace("-", "_")] = version
    return found


def _os() -> str:
    """``Debian GNU/Linux 12 (bookworm), kernel 6.1.0``: a kernel's own suffix may name who built it."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}".strip()
    if sys.platform == "win32":
        return f"Windows {platform.release()} {platform.version()}"
    number = re.match(r"[0-9]+(\.[0-9]+){0,2}", platform.release())
    kernel = f"kernel {number[0]}" if number else "kernel unknown"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return f"{platform.system()}, {kernel}"
