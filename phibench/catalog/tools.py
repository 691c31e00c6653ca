"""Programs that run a Phi for a person: one file each in ``tools/``, what is installed before them in ``tools/needs/``.

A tool's id is the name of its file. The tests hold every flag to the help that its makers publish, as it is kept in
``tests/catalog/tool_help.toml``.
"""

from __future__ import annotations

import functools

from phibench import catalog
from phibench.core import files
from phibench.core.nouns import Prerequisite, Tool

_FOLDER = catalog.FOLDER / "tools"


@functools.cache
def tools() -> dict[str, Tool]:
    """By id, in the order in which they are shown."""
    read = {path.stem: files.read_strict(path, Tool) for path in _FOLDER.glob("*.toml")}
    return dict(sorted(read.items(), key=lambda item: (item[1].order, item[0])))


@functools.cache
def prerequisite(name: str) -> Prerequisite:
    """What a tool needs first, by the name in its file."""
    return files.read_strict(_FOLDER / "needs" / f"{name}.toml", Prerequisite)


@functools.cache
def off_hub() -> frozenset[str]:
    """Owners of repositories that only a tool of theirs knows."""
    return frozenset(tool.owner for tool in tools().values() if tool.off_hub)
