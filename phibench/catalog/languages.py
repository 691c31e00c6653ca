"""Languages by their codes (ISO 639-1), as the makers of the models name them in English."""

from __future__ import annotations

from phibench.core.errors import unknown

CODES = {
    "ar": "Arabic", "zh": "Chinese", "cs": "Czech", "da": "Danish", "nl": "Dutch", "en": "English", "fi": "Finnish",
    "fr": "French", "de": "German", "he": "Hebrew", "hu": "Hungarian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "es": "Spanish",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
}  # fmt: skip


def named(text: str) -> str:
    """``de`` and ``german`` are German. Raises PhibenchError (exit 2) for one that no Phi is documented to speak."""
    wanted = text.strip().lower()
    names = {name.lower(): name for name in CODES.values()}
    found = CODES.get(wanted.partition("-")[0]) or names.get(wanted)
    if found is None:
        remedy = f"no Phi is documented to speak others than: {', '.join(f'{c} {n}' for c, n in CODES.items())}"
        raise unknown("language", text, (*CODES, *CODES.values()), remedy)
    return found
