"""Every value that crosses a module or a file: frozen records without effects.

Units are in the names (``_s`` seconds, ``_bytes``, ``_tps`` tokens per second); SI base units inside.
Unknown is ``None``, never zero.
"""

from __future__ import annotations

from phibench.core.nouns.advice import Basis, Estimate, Reason, Verdict
from phibench.core.nouns.base import SCHEMA, AtLeastOne, Cause, Count, Kind, Noun, Rate, Seconds, Tokens
from phibench.core.nouns.conditions import Conditions, Throttle
from phibench.core.nouns.machines import (
    Cache,
    Device,
    Finding,
    Held,
    Installed,
    Limits,
    Machine,
    Node,
    Problem,
    Processor,
    SelfTest,
    Source,
    Storage,
)
from phibench.core.nouns.models import ChatTemplate, Goal, Need, Quantization, Runtime, Score, Shape, Variant
from phibench.core.nouns.results import (
    Energy,
    Engine,
    Event,
    Failed,
    Measured,
    Opened,
    Progress,
    Result,
    Run,
    Sample,
    Stage,
    Window,
)
from phibench.core.nouns.rows import Note, NoteKind, Row, Spread
from phibench.core.nouns.setups import Artifact, Job, PageCache, Setup, Shorter, Suite, Warmup, Workload

__all__ = [
    "SCHEMA",
    "Artifact",
    "AtLeastOne",
    "Basis",
    "Cache",
    "Cause",
    "ChatTemplate",
    "Conditions",
    "Count",
    "Device",
    "Energy",
    "Engine",
    "Estimate",
    "Event",
    "Failed",
    "Finding",
    "Goal",
    "Held",
    "Installed",
    "Job",
    "Kind",
    "Limits",
    "Machine",
    "Measured",
    "Need",
    "Node",
    "Note",
    "NoteKind",
    "Noun",
    "Opened",
    "PageCache",
    "Problem",
    "Processor",
    "Progress",
    "Quantization",
    "Rate",
    "Reason",
    "Result",
    "Row",
    "Run",
    "Runtime",
    "Sample",
    "Score",
    "Seconds",
    "SelfTest",
    "Setup",
    "Shape",
    "Shorter",
    "Source",
    "Spread",
    "Stage",
    "Storage",
    "Suite",
    "Throttle",
    "Tokens",
    "Variant",
    "Verdict",
    "Warmup",
    "Window",
    "Workload",
]
