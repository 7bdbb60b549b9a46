"""Numbers of every other kind: telephone numbers, versions, numerals, ranges, and plain ones."""

import re

from ptts_jax.text.normalize.language import Language
from ptts_jax.text.normalize.rule import DIGIT, FREE, Rule, digits, pattern_of

RESULT = 300  # so many points has a side at most that won a game 101-99
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN_FORM = re.compile(r"M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")


def phone(language: Language) -> Rule:
    """Telephone numbers, group by group; in pairs where the language says so."""
    lead = r"\+\d{1,3}(?:[ .\-/]?\(?\d{1,4}\)?){2,6}|\(0?\d{2,5}\)[ .-]?\d{2,5}(?:[ .-]?\d{2,4})+"
    zero = r"0\d{1,4}(?:[ ./-]\d{2,4}){2,5}|0\d{2,4}[ /-]\d{4,8}|0\d{8,10}"
    local = r"(?:1[-. ])?\d{3}[-. ]\d{3}[-. ]\d{4}|\d{3}-\d{4}|\d{2,4}-\d{6,8}"
    more = language.data.get("phone", "(?!)")
    pattern = rf"(?<![\w+.,:/-])(?:{lead}|{zero}|{local}|{more})(?!\w|[.,:/-]\d)"

    def say(match: re.Match[str]) -> str | None:
        groups = re.findall(r"\d+", match[0])
        if not 7 <= sum(map(len, groups)) <= 15:
            return None
        if language.data.get("phone_pairs"):
            if groups == [match[0]]:
                groups = re.findall(r"\d\d?", match[0])
            said = [language.whole(g) if len(g) == 2 else language.digits(g) for g in groups]
        else:
            said = [language.digits(group) for group in groups]
        plus = f"{language.data['plus']} " if match[0].startswith("+") else ""
        return plus + ", ".join(said)

    return digits(pattern, say)


def versions(language: Language) -> Rule:
    """Versions and network addresses: numbers between points, of which there are two or more."""
    named = r"(?P<v>[vV])\.?\s?(?P<a>\d+(?:\.\d+)*)"
    pattern = rf"(?<![\w.,])(?:{named}|(?P<b>\d+(?:\.\d+){{2,}}))(?!\w|[.,]\d)"
    grouped = re.compile(rf"\d{{1,3}}(?:[{re.escape(language.data['groups'])}]\d{{3}})+")

    def say(match: re.Match[str]) -> str | None:
        if match["b"] and grouped.fullmatch(match["b"]):
            return None
        numbers = (match["a"] or match["b"]).split(".")
        said = f" {language.data['dot']} ".join(language.whole(n) for n in numbers)
        return f"{language.data['version']} {said}" if match["v"] else said

    return digits(pattern, say)


def roman(text: str) -> int:
    """The value of a Roman numeral; 0 for what is none."""
    if not text or not _ROMAN_FORM.fullmatch(text):
        return 0
    values = [_ROMAN[letter] for letter in text]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return sum(-value if value < after else value for value, after in pairs)


def numerals(language: Language) -> list[Rule]:
    """Ordinals, Roman numerals and decades, as the language's file lists them."""
    return [_numeral(language, entry) for entry in language.data.get("numeral", ())]


def _numeral(language: Language, entry: dict) -> Rule:
    is_roman = entry.get("roman", False)
    # A single C, D, L or M is far more often a letter.
    letters = "(?:[IVX]|[IVXLC]{2,})" if entry.get("single") else "[IVX]{2,}"
    numeral = letters if is_roman else r"\d+"
    before = entry.get("before", "")
    free = "" if before else r"(?<!\w)" if is_roman else r"(?<![\w.,/])"
    after = entry.get("after", r"(?![A-Za-z0-9])")
    pattern = pattern_of(language, f"{free}{before}(?P<n>{numeral})(?:{after})")

    def say(match: re.Match[str]) -> str | None:
        number = roman(match["n"]) if is_roman else int(match["n"][:8])
        if not entry.get("least", 1) <= number <= entry.get("largest", 10**6):
            return None
        form = entry["say"]
        if number > entry.get("ordinal_to", 10**6):
            form = form.replace("ordinal", "cardinal")
        # The language may have rule sets of its own for inflected forms: {ordinal-n}.
        said = re.sub(r"\{([\w-]+)\}", lambda name: _form(language, number, name[1]), form)
        return match.groupdict().get("keep", "") + said

    return Rule(pattern, say, re.compile("[IVX]") if is_roman else DIGIT)


def _form(language: Language, number: int, kind: str) -> str:
    if kind == "decade":  # nineteen nineties
        return re.sub("y$", "ie", language.spell(number, "year")) + "s"
    return language.spell(number, kind)


def spans(language: Language) -> list[Rule]:
    """A dash between two numbers is "to"; between years of one century the second is whole."""
    number = language.number

    def years(match: re.Match[str]) -> str | None:
        last = match[2] if len(match[2]) == 4 else match[1][:2] + match[2]
        if int(last) < int(match[1]):
            return None
        first, last = language.year(match[1]), language.year(last)
        return f"{first} {language.data['to']} {last}"

    def span(match: re.Match[str]) -> str:
        first, last = (float(".".join(language.parts(match[i]))) for i in (1, 3))
        between = f" {language.data['to']} "
        if first > last and match[2] != match[2].strip():
            between = f" {language.data['minus']} "
        elif first > max(last, RESULT):
            between = ", "  # a number of two parts, as 747-400
        elif first > last:
            between = language.data.get("result", between)
        return f"{language.cardinal(match[1])}{between}{match[3]}"

    year = r"1[1-9]\d\d|20\d\d"
    return [
        digits(rf"{FREE}({year})\s?[-–—]\s?({year}|\d\d)(?![\w%€$°]|[.,]\d)", years),
        digits(rf"(?<![\w.,-])({number})(\s?[-–—]\s?)({number})(?![\w-]*-\d)", span),
    ]


def numbers(language: Language) -> list[Rule]:
    """Whatever digits are left: years, numbers, numbers inside words."""
    data = language.data
    sign = r"(?P<sign>(?<![\w)\].,])[-−+±](?=\d))?"
    pattern = rf"{sign}(?P<n>{language.number})(?P<noun>(?=\s[^\W\d_]))?"
    noun, feminine = data.get("noun"), data.get("feminine_noun")
    labelled = re.compile(rf"\w-?$|\b(?:{data.get('labels', '(?!)')})\s$")  # A1, chapter 1
    signs = {sign: data["symbols"][sign] for sign in "+−±"} | {"-": data["minus"]}

    def say(match: re.Match[str]) -> str:
        text, start, end = match.string, match.start("n"), match.end("n")
        written = match["n"]
        if re.fullmatch(r"1[1-9]\d\d|20\d\d", written):
            said = language.year(written)
        else:
            kind = "cardinal"
            wanted = match["noun"] is not None and noun
            if wanted and not labelled.search(text[max(0, start - 20) : start]):
                word = re.match(r"\s(\w+)", text[end : end + 40])[1]
                if feminine and re.fullmatch(feminine, word):
                    kind = "feminine"
                elif re.fullmatch(noun, word):
                    kind = "masculine"
            said = language.cardinal(written, kind)
        if match["sign"]:
            return f"{signs[match['sign']]} {said}"
        first = " " if start and text[start - 1].isalnum() else ""  # MP3: words of their own
        return first + said + (" " if text[end : end + 1].isalnum() else "")

    bare = r"(?<![\w.,)])[.](?=\d)"  # .5
    return [digits(bare, lambda _: f"{data['point']} "), digits(pattern, say)]
