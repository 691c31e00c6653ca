"""What the pages share: text from files made safe, and the page that says what to type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import streamlit as st

from phibench import backends
from phibench.core.nouns import Basis
from phibench.core.text import plain

Colour = Literal["blue", "orange", "violet", "gray"]

# One colour per kind of number, everywhere: seen here, reckoned, published, plain arithmetic.
COLOURS: dict[Basis, Colour] = {
    "measured": "blue", "calibrated": "orange", "probed": "orange", "spec": "orange", "assumed": "orange",
    "published": "violet", "exact": "gray",
}  # fmt: skip
LEGEND = (
    ":blue[measured]: timed on this machine. :orange[scaled]: from other measurements here; :orange[estimate]: from "
    "its memory bandwidth; :orange[guess]: from a data sheet; each with an 80 % interval in brackets. "
    ":violet[published]: a score from the model's makers. :gray[calculated]: arithmetic over every tensor."
)
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # all that CommonMark lets a backslash disarm
# What Streamlit turns into an icon or a link after the escapes are read: :smile: and bare addresses.
_LATE = re.compile(r":(?=[\w+/-]+:|//)|(?<=www)(?=\.)|@(?=[\w-]+\.)", re.IGNORECASE)


def escape(text: str) -> str:
    """Text from a file as Markdown that shows exactly that text: no link, image, HTML, formula or icon."""
    return _PUNCTUATION.sub(r"\\\1", _LATE.sub("\\g<0>\N{WORD JOINER}", plain(text)))


def nothing_yet(folder: Path) -> None:
    """No results: what to type."""
    st.subheader("Nothing measured yet", anchor=False)
    st.markdown(
        f"There is no result in **{escape(str(folder))}**. Measure Phi-4-mini on this machine, in about three minutes:"
    )
    st.code("phibench quickstart", language=None)
    st.markdown("Or choose what to measure:")
    usual = backends.load(backends.DEFAULT)
    command = f"phibench run latency -m phi-4-mini-instruct -q {usual.QUANTIZATION} -b {usual.NAME}"
    st.code(command, language=None, wrap_lines=True)
    st.markdown("Then reload this page.")


def skipped(lines: Sequence[str]) -> None:
    """Names the files that could not be read."""
    if lines:
        count = f"{len(lines)} files" if len(lines) > 1 else "One file"
        with st.expander(f"{count} skipped: damaged, or not a run", icon=":material/warning:"):
            st.code("\n".join(plain(line) for line in lines), language=None, wrap_lines=True)


def facts(pairs: Mapping[str, str | None]) -> None:
    """Names and values, one a line; an unknown value is a dash."""
    lines = (f":gray[{escape(name)}]&ensp;{escape(value) if value else '–'}" for name, value in pairs.items())
    st.markdown("  \n".join(lines))


def theme() -> str:
    """``light`` or ``dark``, for what Streamlit does not colour by itself: text in charts."""
    return st.context.theme.type or "light"
