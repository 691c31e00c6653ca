"""One file per kind of energy source; its name is the source's ``kind``."""
