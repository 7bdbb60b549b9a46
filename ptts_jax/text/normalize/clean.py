"""What is no word and no number: odd forms of characters, markdown, HTML and emoji.

The same for every language.
"""

import html
import re
import unicodedata

from ptts_jax.text.mapped import Mapped

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]"
)
_PICTURE = (
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u23e9-\u23fa\u231a\u231b"
    "\u20e3\U000e0020-\U000e007f]"
)
_FACE = "(?<!\\S)[:;8=]'?-?[)(DPp|](?!\\S)"  # :-)
_EMOJI = re.compile(f"[*#0-9]\u20e3|(?:[ \t]*{_PICTURE})+|{_FACE}")
# Full-width and mathematical forms, ligatures, letters with loose accents, digits of any script.
_FORMS = re.compile(
    "[\uff01-\uff5e\ufb00-\ufb06\u3000\U0001d400-\U0001d7ff\u2100-\u214f\u24b6-\u24e9]"
    "|[^\\W\\d_][\u0300-\u036f]+"
)
_DIGITS = re.compile("[^\\W0-9A-Za-z_]")
_LINE = "(?m)^[ \t]*"
_MARKS = [
    (r"```[^\n`]*\n?|`{1,2}", ""),
    (rf"{_LINE}([-*_])(?:[ \t]*\1){{2,}}[ \t]*$", ""),  # a line across
    (rf"{_LINE}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t:]*-+:?[ \t]*)+\|?[ \t]*$", ""),
    (r"!?\[([^\[\]\n]*)\]\((?:https?://|www\.|mailto:|/|#|\./)[^()\s]*\)", r"\1"),
    (rf"{_LINE}#{{1,6}}[ \t]+(.*?)[ \t#]*$", r"\1"),
    (rf"{_LINE}(?:>[ \t]?)+", ""),
    (rf"{_LINE}[-*+•‣◦·][ \t]+(?:\[[ xX]\][ \t]+)?(?=\S)", ""),
    (r"(\*\*\*|\*\*|__|~~)(?=\S)([^\n]*?\S)\1", r"\2"),
    (r"(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?![\w*])", r"\1"),
    (r"(?<![\w_])_(?=[^\s_])([^_\n]*?[^\s_])_(?![\w_])", r"\1"),
    (r"(?i)<br[ \t]*/?>|</(?:p|div|li|h[1-6]|tr)>", "\n"),
    (r"(?i)</?(?:a|b|i|u|p|s|em|strong|span|div|ul|ol|li|h[1-6]|sub|sup|code|pre|table|tr|td|th"
     r"|img|small|mark|blockquote)(?:\s[^<>]*)?/?>", ""),
    (rf"{_LINE}\|[ \t]*|[ \t]*\|[ \t]*$", ""),
    (r"[ \t]+\|[ \t]+", ", "),
]  # fmt: skip
_MARKDOWN = [(re.compile(pattern), said) for pattern, said in _MARKS]
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")
_BLANKS = re.compile(r"[ \t]{2,}|[ \t]+(?=\n|$)|(?<=\n)[ \t]+|^[ \t]+")


def characters(text: Mapped) -> Mapped:
    """Ordinary characters for their odd forms; what cannot be seen is left out."""
    text = text.sub(_INVISIBLE, lambda _: "")
    text = text.sub(_FORMS, lambda match: unicodedata.normalize("NFKC", match[0]))
    return text.sub(_DIGITS, _digit)


def _digit(match: re.Match[str]) -> str | None:
    """0 to 9 for a decimal digit of another script."""
    value = unicodedata.decimal(match[0], None)
    return None if value is None else str(value)


def markdown(text: Mapped) -> Mapped:
    """Markdown, HTML tags and entities, and emoji are not read aloud."""
    for pattern, said in _MARKDOWN:
        text = text.sub(pattern, lambda match, said=said: match.expand(said))
    text = text.sub(_ENTITY, lambda match: html.unescape(match[0]))
    return text.sub(_EMOJI, gap)


def blanks(text: Mapped) -> Mapped:
    """One space where something between two spaces went away."""
    return text.sub(_BLANKS, lambda match: " " if match.end() < len(match.string) and match.start()
                    and match.string[match.start() - 1] != "\n"
                    and match.string[match.end()] != "\n" else "")  # fmt: skip


def gap(match: re.Match[str]) -> str:
    """A space where two words would grow together."""
    text, (first, last) = match.string, match.span()
    inside = first and last < len(text) and text[first - 1].isalnum() and text[last].isalnum()
    return " " if inside else ""
