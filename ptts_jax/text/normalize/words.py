"""Words that are not written out: addresses, abbreviations, initials, tags and signs."""

import re

from ptts_jax.text.normalize.amounts import unit_names
from ptts_jax.text.normalize.clean import gap
from ptts_jax.text.normalize.language import Language
from ptts_jax.text.normalize.rule import DIGIT, Rule, digits, either, pattern_of

_DOMAINS = "com|org|net|edu|gov|io|ai|dev|app|info|biz|eu|uk|fr|de|it|pt|br|es|nl|be|ch|at|us|ca|au"


def addresses(language: Language) -> list[Rule]:
    """Web and mail addresses are spoken sign by sign, without what nobody says."""
    said = language.data["addresses"]
    host = r"(?:[a-zA-Z0-9](?:[\w-]*[a-zA-Z0-9])?\.)+"
    path = r"(?::\d{2,5})?(?:[/?#][^\s<>\"'()]*[^\s<>\"'().,;:!?])?/?"
    mail = rf"[\w.+-]*\w@{host}[a-zA-Z]{{2,}}"
    site = rf"https?://[^\s<>\"'()]*[^\s<>\"'().,;:!?]|www\.{host}[a-zA-Z]{{2,}}{path}"
    bare = rf"(?<![\w@.]){host}(?:{_DOMAINS})(?![\w@]){path}"
    signs = re.compile(f"{either(said)}|(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])")

    def say(match: re.Match[str]) -> str:
        text = re.sub(r"^(?:https?://)?(?:www\.)?", "", match[0]).rstrip("/")
        text = signs.sub(lambda sign: f" {said.get(sign[0], '')} ", text)
        text = re.sub(r"\d+", lambda number: language.whole(number[0]), text)  # 8s: no seconds
        return " ".join(text.split())

    return [
        Rule(mail, say, re.compile("@")),
        Rule(f"{site}|{bare}", say, re.compile(r"\.[a-zA-Z]|://")),
    ]


def replacements(language: Language, name: str = "say") -> list[Rule]:
    """What the language's file replaces, early ("say") or in the end ("polish")."""

    def rule(pattern: str, said: str) -> Rule:
        needs = DIGIT if r"\d" in pattern else None
        return Rule(pattern_of(language, pattern), lambda match: match.expand(said), needs)

    return [rule(entry["pattern"], entry["say"]) for entry in language.data.get(name, ())]


def abbreviations(language: Language) -> Rule:
    """Those of the language's list; one that may end a sentence leaves its point there."""
    words = language.data["abbreviations"]
    # Weekdays and the like, of which some are words too; others that begin a sentence.
    numbered = set(language.data.get("before_numbers", ()))
    capital = {w.capitalize(): s.capitalize() for w, s in words.items() if w[0].islower()}
    capital = {word: said for word, said in capital.items() if word not in words}
    numbered |= capital.keys()
    words = {**words, **capital}
    units = unit_names(language)
    number = re.compile(r",?\s?\d")
    pattern = rf"(?<![\w.])(?:{either(words)})(?!\w)"
    ends = re.compile(r"[\"'”’)\]»]*(?:\s*$|\s+[^\W\d_a-zà-öø-ÿ])")

    def say(match: re.Match[str]) -> str:
        said, text = words[match[0]], match.string
        if match[0] in numbered and not number.match(text, match.end()):
            return None
        counted = re.search(r"\d\s?$", text[max(0, match.start() - 2) : match.start()])
        if counted and {match[0], match[0].rstrip(".")} & units.keys():
            return None  # 15 min.
        final = match[0].endswith(".") and ends.match(match.string, match.end())
        return said if final else said.rstrip(".")

    return Rule(re.compile(pattern), say)


def initials(language: Language) -> Rule:
    """U.S.A. and J. R. R. Tolkien: the points would end sentences."""
    letter = r"[^\W\d_a-zà-öø-ÿ]"
    name = re.compile(rf"\s?{letter}\w")
    ends = re.compile(rf"\s*$|\s*(?:{language.data.get('starters', '(?!)')})\b")
    names = rf"\b(?:{letter}\.[ -]?)+(?=\s?{letter}\w)"

    def say(match: re.Match[str]) -> str:
        letters = " ".join(re.findall(r"[^\W\d_]", match[0]))
        behind = match[0][len(match[0].rstrip()) :]
        if ends.match(match.string, match.end()):
            return f"{letters}.{behind}"
        apart = name.match(match.string, match.end()) and not match.string[match.end()].isspace()
        return letters + (behind or " " * bool(apart))

    return Rule(re.compile(rf"{names}|(?<![\w.])(?:{letter}\.){{2,}}(?!\w)"), say)


def tags(language: Language) -> list[Rule]:
    """#word, #5 and @name."""
    data = language.data
    return [
        Rule(re.compile(r"(?<!\w)#(?=[^\W\d_])"), lambda _: f"{data['hashtag']} "),
        digits(r"(?<!\w)(?:#|№|[nN]º|[nN]°)\s?(?=\d)", lambda _: f"{data['numero']} "),
        Rule(re.compile(r"(?<!\w)@(?=\w)"), lambda _: f"{data['symbols']['@']} "),
    ]


def symbols(language: Language) -> list[Rule]:
    """Signs that are said, and those that nobody says."""
    said = language.data["symbols"]

    def say(match: re.Match[str]) -> str:
        text, (first, last) = match.string, match.span()
        before = " " if first and not text[first - 1].isspace() else ""
        after = " " if last < len(text) and (text[last].isalnum() or text[last] in said) else ""
        return before + said[match[0]] + after

    signs = re.compile(f"[{re.escape(''.join(said))}]")
    silent = re.compile(r"[*_^|\\•·®™†‡¶{}<>]+")
    return [Rule(signs, say), Rule(silent, gap)]
