"""Every reader of what phibench did not write, with samples of it: one table for tests and proof."""

from __future__ import annotations

from readers import drivers, engines, models, system, tools, written
from readers.oracles import Reader

READERS: dict[str, Reader] = {
    reader.name: reader for module in (system, drivers, engines, tools, models, written) for reader in module.READERS
}
