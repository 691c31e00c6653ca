"""Does the C++ compiler here drop the stores of an AMX tile configuration, and do the repairing flags keep them?

Nothing is run, so any x86 shows it: the set-up's own check (scripts/compiler.py) reads the assembly, with the flags of
CXXFLAGS and with the repairing ones. It holds when what it drops by default it keeps once repaired.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
WORDS = {True: "keeps", False: "drops", None: "cannot say"}


def main() -> int:
    sys.path.insert(0, str(SCRIPTS))
    check = importlib.import_module("compiler")
    asked = f"dropped by default, kept with {' '.join(check.REPAIR)}; or always kept"
    command = check.compiler_command(os.environ)
    if not command:
        print(f"no C++ compiler here ({asked})")
        return 77
    flags = check.split(os.environ.get("CXXFLAGS", ""))
    plain = check.keeps_tiles(command, flags)
    repaired = check.keeps_tiles(command, check.REPAIR + flags)
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"{WORDS[plain]} by default, {WORDS[repaired]} when repaired: {version} ({asked})")
    return 77 if plain is None else 0 if repaired else 1


if __name__ == "__main__":
    sys.exit(main())
