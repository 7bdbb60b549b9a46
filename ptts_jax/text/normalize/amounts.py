"""Amounts: money, numbers with a unit, fractions."""

import functools
import re

from ptts_jax.text.normalize.language import Language
from ptts_jax.text.normalize.rule import FREE, Rule, digits, either, is_one, signed

_CODES = {"USD": "$", "US$": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "RUB": "₽",
          "BRL": "R$", "KRW": "₩"}  # fmt: skip
_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5",
    "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip


def money(language: Language) -> list[Rule]:
    """Amounts of money, the sign before or behind them."""
    data = language.data["money"]
    names = {sign: words.split("|") for sign, words in data.items() if words.count("|") > 2}
    names |= {code: names[sign] for code, sign in _CODES.items() if sign in names}
    sign, number = either(names), language.number
    size = "|".join(language.data["magnitudes"])
    lower = rf"(?:(?P<lo>{number})\s?[-–]\s?)?"
    minus = r"(?P<minus>(?<![\w.,])[-−]\s?)?"
    spaces, gap = f"[ {chr(0xA0)}{chr(0x202F)}]?", f"[ {chr(0xA0)}{chr(0x202F)}-]?"
    of_what = [re.compile(pattern) for pattern in language.data.get("attributive", ())]

    def say(match: re.Match[str]) -> str:
        one, many, cent, cents, *gender = names[match["sign"]]
        kind = {"f": "feminine"}.get(gender[0] if gender else "", "masculine")
        whole, fraction = language.parts(match["n"])
        single, plural = _magnitude(language, match["size"])
        text, (first, last) = match.string, match.span()
        around = f"{text[max(0, first - 20) : first]}${text[last : last + 20]}"
        if any(pattern.search(around) for pattern in of_what):
            many = one  # the five million dollar deal
        minus = f"{language.data['minus']} " if match["minus"] else ""
        lo = f"{language.cardinal(match['lo'], kind)} {language.data['to']} " if match["lo"] else ""
        if single:
            amount = language.cardinal(match["n"], "masculine")
            name = single if is_one(language, match["n"]) else plural
            of = data["of"] if plural != single else ""  # a thousand is no noun
            return f"{minus}{lo}{amount} {name} {_of(of, many)}"
        if len(fraction) == 2 and cent and not match["lo"]:
            units = f"{language.whole(whole, kind)} {one if int(whole) == 1 else many}"
            small = language.spell(int(fraction), "masculine")
            coins = f"{small} {cent if int(fraction) == 1 else cents}"
            if not int(fraction):
                return minus + units
            if not int(whole):
                return minus + coins
            bare = language.spell(int(fraction))
            return minus + data["cents"].format(n=units, c=coins, bare=bare)
        round_million = not fraction and len(whole) > 6 and not int(whole[-6:])
        name = one if is_one(language, match["n"]) else many
        if round_million:
            name = _of(data["of"], many)
        return f"{minus}{lo}{language.cardinal(match['n'], kind)} {name}"

    amount = rf"{lower}(?P<n>{number})(?:{gap}(?P<size>{size}))?"
    before = rf"{minus}(?P<sign>{sign}){spaces}{amount}(?!\w)"
    behind = rf"(?<![\w.,])(?P<minus>[-−])?{amount}{spaces}(?P<sign>{sign})(?!\w)"
    return [digits(before, say), digits(behind, say)]


def _magnitude(language: Language, text: str | None) -> tuple[str, str]:
    """(singular, plural) of thousand, million... as the text shortens it."""
    for short, name in language.data["magnitudes"].items():
        if text and re.fullmatch(short, text):
            one, _, many = name.partition("|")
            return one, many or one
    return "", ""


def _of(of: str, noun: str) -> str:
    """The noun behind a million: d'euros, de dollars."""
    if not of:
        return noun
    elided = of.endswith("|'") and noun[0].lower() in "aeiouhéè"
    word = of.split("|")[0]
    return f"{word[0]}'{noun}" if elided else f"{word} {noun}"


@functools.cache
def unit_names(language: Language) -> dict[str, list[str]]:
    """What each unit is called: one, several, and its gender."""
    names: dict[str, list[str]] = {}
    for short, words in language.data["units"].items():
        names |= dict.fromkeys(short.split("|"), words.split("|"))
    return names


def units(language: Language) -> Rule:
    """A number and what it counts."""
    names = unit_names(language)
    point = r"(?:\.(?=\s[a-zà-öø-ÿ]))?"  # 40 mi. to the north
    unit = rf"[ \u00a0\u202f-]?(?P<unit>{either(names)})(?![\w²³'’]){point}"
    end = re.compile(r"\s*$")
    pattern = rf"(?<![\w.,)\]])(?P<sign>[-−+])?(?P<n>{language.number}){unit}"

    def say(match: re.Match[str]) -> str:
        one, many, *gender = names[match["unit"]]
        kind = {"f": "feminine", "n": "neuter"}.get(gender[0] if gender else "", "masculine")
        said = language.cardinal(match["n"], kind)
        name = one if is_one(language, match["n"]) else many
        last = match["unit"][-1] == "." and end.match(match.string, match.end())
        return f"{signed(language, match['sign'])}{said} {name}{'.' if last else ''}"

    return digits(pattern, say)


def fractions(language: Language) -> list[Rule]:
    """One half, two and a half; what is no such fraction is one number over another."""
    data = language.data
    names = [name.split("|") for name in data["denominators"]]
    units = unit_names(language)
    one = re.compile(rf"(\d?)([{''.join(_VULGAR)}])")

    def say(match: re.Match[str]) -> str | None:
        a, b = int(match["a"]), int(match["b"])
        if not (1 <= a < b and b - 2 in range(len(names))):
            return None
        part = f"{language.spell(a, 'masculine')} {names[b - 2][a > 1]}"
        if a == 1 and b == 2 and "half" in data:
            part = data["half"]
        if not match["n"]:
            return part
        noun = match["noun"] or ""
        name = noun.strip()
        if name in units:
            name = units[name][int(match["n"]) > 1]
        elif not ("noun" in data and re.fullmatch(data["noun"], name)):
            name = ""
        half = (a, b) == (1, 2)
        if name and "mixed_noun" in data:
            is_feminine = units.get(noun.strip(), ["", ""])[2:] == ["f"] or (
                noun.strip() not in units and re.fullmatch(data["feminine_noun"], name)
            )
            n = language.whole(match["n"], "feminine" if is_feminine else "masculine")
            part = data["mixed_halves"][bool(is_feminine)] if half else part
            return data["mixed_noun"].format(n=n, noun=name, f=part)
        form = data["mixed_half"] if half else data["mixed"]
        said = form.format(n=language.whole(match["n"]), f=part)
        return said + (f" {name}" if noun.strip() in units else noun)

    def over(match: re.Match[str]) -> str:
        between = " " if years.fullmatch(match[0]) else f" {data['over']} "
        return f"{match[1]}{between}{match[2]}"

    end = r"(?![\w/]|[.,]\d)"
    years = re.compile(r"(?:1[89]|20)\d\d/(?:1[89]|20)\d\d")
    return [
        Rule(one, lambda m: f"{m[1]}{' ' * bool(m[1])}{_VULGAR[m[2]]}", one),
        digits(rf"{FREE}(?P<n>\d+) (?P<a>\d)[/⁄](?P<b>\d\d?){end}(?P<noun>\s[^\W\d_]+)?", say),
        digits(rf"{FREE}(?P<n>)(?P<a>\d)[/⁄](?P<b>\d\d?){end}", say),
        digits(rf"{FREE}(\d+)\s?[/⁄]\s?(\d+){end}", over),
    ]
