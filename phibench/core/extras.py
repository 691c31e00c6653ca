"""How this phibench came here, and what to type so that an extra is there too: uvx, uv, pipx, pip, or a checkout.

Lines are in double quotes, which PowerShell, cmd, bash, zsh and fish all take: bare brackets are a pattern in zsh,
single quotes are letters in cmd. A home folder is ``$HOME``, which all of them but cmd know, so that a line can be
pasted anywhere without a user's name in it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from phibench.core import folders

ROOT = Path(__file__).parents[2]  # of a checkout, or the folder of installed packages
Way = Literal["uvx", "pipx run", "uv tool", "pipx", "checkout", "pip"]
_UVX = r"(archive|environments)-v\d+"  # folders of uv's cache that hold environments
_ALL_ANEW = {"uv tool": "uv tool install", "pipx": "pipx install --force"}  # of what is named, so name all


def way() -> Way:
    """How this phibench came here, by the marks that each tool leaves in its environments."""
    here = Path(sys.prefix)
    if re.fullmatch(_UVX, here.parent.name):
        return "uvx"
    if (here / "uv-receipt.toml").is_file():
        return "uv tool"
    if (here / "pipx_metadata.json").is_file():
        return "pipx" if here.parent.name == "venvs" else "pipx run"
    return "checkout" if _is_checkout() else "pip"


def line(*extras: str, then: str = "") -> str:
    """What to type, here, so that these extras are there.

    Where phibench runs without being installed (uvx, ``pipx run``) that is a command again, with the extra: ``then``,
    or the one of now.
    """
    how = way()
    if how in ("uvx", "pipx run"):
        return f"{_run(how, {*_here(), *extras})} {then or _command()}".rstrip()
    if how in _ALL_ANEW:
        return f"{_ALL_ANEW[how]} {_quoted(_requirement({*_here(), *extras}))}"
    return f"{_pip()} {'-e ' if how == 'checkout' else ''}{_quoted(_requirement(extras))}"


def program() -> str:
    """How phibench is called here: ``phibench``, or what leads to it where the PATH does not."""
    if (how := way()) in ("uvx", "pipx run"):
        return _run(how, _here())
    if shutil.which("phibench"):
        return "phibench"
    called = Path(sys.argv[0]).absolute()
    return f"{_called(sys.executable)} -m phibench" if called.name == "__main__.py" else _called(str(called))


def _run(how: str, extras: Collection[str]) -> str:
    what = _requirement(extras)
    if not any(_origin()):
        return f"{how} {_quoted(what) if extras else what}"
    return f"{how} {'--from' if how == 'uvx' else '--spec'} {_quoted(what)} phibench"


def _command() -> str:
    """The words after ``phibench``; "" where another program called this function."""
    if Path(sys.argv[0]).stem not in ("phibench", "__main__"):
        return ""
    return " ".join(word if re.fullmatch(r"[\w@%+=:,./-]+", word) else _quoted(word) for word in sys.argv[1:])


def _requirement(extras: Collection[str]) -> str:
    """What pip and its like take: a name, or where this one was installed from."""
    path, url = _origin()
    chosen = f"[{','.join(sorted(extras))}]" if extras else ""
    return f"phibench{chosen} @ {url}" if url else f"{path or 'phibench'}{chosen}"


def _origin() -> tuple[str, str]:
    """The folder or file, or else the address, that it was installed from (PEP 610); neither: the package index."""
    if _is_checkout():
        return _shown(ROOT), ""
    import importlib.metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname  # with it the whole of http: for whoever asks for a line alone

    try:
        said = json.loads(importlib.metadata.distribution("phibench").read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return "", ""
    url = str(said.get("url", ""))
    if urlsplit(url).scheme != "file":
        return "", f"{vcs}+{url}" if (vcs := said.get("vcs_info", {}).get("vcs")) else url
    path = Path(url2pathname(urlsplit(url).path))
    return _shown(path) if path.exists() else "", ""


def _is_checkout() -> bool:
    return (ROOT / "pyproject.toml").is_file() and not (ROOT / "phibench" / "_data").is_dir()  # what a wheel has


def _here() -> set[str]:
    """The extras that this environment has: all that each asks for is installed."""
    import importlib.metadata

    try:
        told = importlib.metadata.requires("phibench") or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    wanted: dict[str, list[str]] = {}
    for each in told:
        if found := re.search(r"""extra == ["']([\w-]+)["']""", each):
            wanted.setdefault(found[1], []).append(re.split(r"[^\w.-]", each)[0])
    return {extra for extra, names in wanted.items() if all(version(name) is not None for name in names)}


def version(package: str) -> str | None:
    """Of an installed package; None where it is not here."""
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip() -> str:
    """The pip of this environment, not of another one that comes first on the PATH; uv's environments have none."""
    found = shutil.which("pip")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "pip install"
    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return f"uv pip install --python {_quoted(_shown(Path(sys.prefix)))}"
    return f"{_called(sys.executable)} -m pip install"


def _called(program: str) -> str:
    shown = _shown(Path(program))
    if re.fullmatch(r"[\w@%+=:,./\\-]+", shown):
        return shown
    return f"{'& ' if os.name == 'nt' else ''}{_quoted(shown)}"  # PowerShell would print a quoted path


def _shown(path: Path) -> str:
    for base, name in ((Path.cwd(), "."), (folders.home(), "$HOME")):
        if base and base != Path(base.anchor) and path.is_relative_to(base):
            rest = path.relative_to(base)
            return str(rest) if rest == Path() else f"{name}{os.sep}{rest}"
    return str(path)


def _quoted(text: str) -> str:
    strange = os.name != "nt" and re.search(r'["`\\!]|\$(?!HOME\b)', text)
    return shlex.quote(text) if strange else f'"{text}"'
