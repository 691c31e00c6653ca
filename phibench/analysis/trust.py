"""What the self-tests of a machine say of a setup: with which options, or not at all. Pure functions over nouns."""

from __future__ import annotations

import msgspec

from phibench.core.nouns import Machine, SelfTest, Setup

# Of the self-test: raise it with its weights, answers, limits or any backend's safe options. What was remembered of an
# older one is then no memory.
VERSION = 1


def of(machine: Machine, backend: str, device: str) -> SelfTest | None:
    return next((one for one in machine.selftests if (one.backend, one.device) == (backend, device)), None)


def with_options(setup: Setup, machine: Machine) -> Setup:
    """With the options without which its engine fails here, but for those that it has itself."""
    known = of(machine, setup.backend, setup.device)
    if known is None or not known.options:
        return setup
    return msgspec.structs.replace(setup, options=tuple(sorted({**known.options, **dict(setup.options)}.items())))


def objection(setup: Setup, machine: Machine) -> str | None:
    """Why its engine cannot be used here; None where it can, or where nothing is known."""
    known = of(machine, setup.backend, setup.device)
    return sentence(known) if known and not known.usable else None


def sentence(found: SelfTest) -> str:
    """What a person should know of a test that did not just pass; "" of one that did."""
    if found.untested:
        return f"{place(found)} could not be tested: {found.untested}; it is used untested"
    if not found.reason:
        return ""
    if not found.usable:
        return f"{place(found)} is not usable here: {found.reason}"
    return f"{found.reason}; with {options(found)} it is right, so that is used here"


def place(found: SelfTest) -> str:
    """``llama_cpp``, ``llama_cpp on cuda:0``."""
    return found.backend if found.device == "cpu" else f"{found.backend} on {found.device}"


def options(found: SelfTest) -> str:
    return "&".join(f"{key}={value}" for key, value in found.options.items())
