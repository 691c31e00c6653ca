"""What ``phibench run`` may be asked for."""

from __future__ import annotations

DEFAULT_BACKEND = "llama_cpp"
ALL = "all"  # every backend that is installed and can; and every suite of the mission
