"""Languages by their codes (ISO 639-1), as the makers of the models name them in English."""

from __future__ import annotations

from phibench.core.errors import unknown

CODES = {
    "ar": "Arabic", "zh": "Chinese", "cs": "Czech", "da": "Danish", "nl": "Dutch", "en": "English", "fi": "Finnish",
    "fr": "French", "de": "German", "he": "Hebrew", "hu": "Hungarian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "es": "Spanish",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
}  # fmt: skip


# As those who speak them write them.
_OWN_NAMES = {
    "العربية": "ar", "中文": "zh", "čeština": "cs", "dansk": "da", "nederlands": "nl", "suomi": "fi", "français": "fr",
    "deutsch": "de", "עברית": "he", "magyar": "hu", "italiano": "it", "日本語": "ja", "한국어": "ko", "norsk": "no",
    "polski": "pl", "português": "pt", "русский": "ru", "español": "es", "svenska": "sv", "ไทย": "th", "türkçe": "tr",
    "українська": "uk",
}  # fmt: skip


def named(text: str) -> str:
    """``de``, ``de_AT``, ``german`` and ``deutsch`` are German. Raises PhibenchError (exit 2) for one that no Phi is
    documented to speak."""
    wanted = text.strip().lower()
    names = {name.lower(): name for name in CODES.values()}
    code = _OWN_NAMES.get(wanted) or wanted.replace("_", "-").partition("-")[0]
    found = CODES.get(code) or names.get(wanted)
    if found is None:
        remedy = f"no Phi is documented to speak any other than: {', '.join(f'{c} {n}' for c, n in CODES.items())}"
        raise unknown("language", text, (*CODES, *CODES.values()), remedy)
    return found
