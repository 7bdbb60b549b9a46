"""Dates and times of day."""

import re

from ptts_jax.text.normalize.language import Language
from ptts_jax.text.normalize.rule import FREE, Rule, digits


def dates(language: Language) -> list[Rule]:
    """Dates in digits become dates with the month's name; short names of months become long."""
    data = language.data
    months = data["months"].split("|")
    orders = {"ymd": r"(?P<y>\d{4})(?P<s>[-/.])(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})"}
    for order in {data["date_order"], "dmy", "mdy"}:
        first, second = order[:2]
        orders[order] = (
            rf"(?P<{first}>\d{{1,2}})(?P<s>[-/.])(?P<{second}>\d{{1,2}})(?P=s)(?P<y>\d{{4}}|\d\d)"
        )

    def say(match: re.Match[str]) -> str | None:
        year, month, day = match["y"], int(match["m"]), int(match["d"])
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        if len(year) == 2:
            short = match["s"] == "." and min(len(match["m"]), len(match["d"])) < 2
            if match["s"] == "-" or (short and "day_month" not in data):  # a version: 2.4.52
                return None
            year = ("20" if int(year) < 50 else "19") + year
        day = data.get("first", day) if day == 1 else day
        return data["date"].format(day=day, month=months[month - 1], year=year)

    ends = r"(?![\w/-]|[.,]\d)"
    wanted = ["ymd", data["date_order"], "dmy", "mdy"]
    rules = [digits(FREE + orders[order] + ends, say) for order in dict.fromkeys(wanted)]
    if form := data.get("day_month"):  # 24.12.

        def day(match: re.Match[str]) -> str | None:
            month = int(match["m"])
            if not (1 <= month <= 12 and 1 <= int(match["d"]) <= 31):
                return None
            return form.format(day=int(match["d"]), month=months[month - 1])

        rules.append(digits(FREE + r"(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.(?!\d)", day))
    short = data["months_short"]
    pattern = rf"\b({short})\.?(?=\s\d)|(?<=\d\s)({short})\b(?:\.(?=\s?[\w,;)]))?"
    shorts = short.split("|")

    def whole(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return next(months[i] for i, one in enumerate(shorts) if re.fullmatch(one, name))

    return [*rules, digits(pattern, whole)]


def clock(language: Language) -> list[Rule]:
    """Times of day; what only looks like one is a ratio or a result."""
    data, time = language.data, language.data["time"]
    colon = time.get("separators", ":")
    suffix = f"(?:{time['suffix']})" if time["suffix"] else "(?!)"
    one = rf"\d{{1,2}}[{colon}]\d\d"
    plain = r"(?P<h>\d{1,2}):(?P<m>\d\d)(?::(?P<s>\d\d))?"
    dotted = time.get("dotted", "(?P<h2>(?!))(?P<m2>)")
    versus = data.get("versus", data["to"])
    half_day = re.compile(r"\s[apAP]\s[mM]\b")
    pattern = rf"(?<![\d:.,/])(?:{plain}(?:{suffix})?|{dotted})(?![\w:]|[.,]\d)"

    def say(match: re.Match[str]) -> str | None:
        groups = match.groupdict()
        hour = groups["h"] or groups["h2"]
        minute = groups["m"] or groups["m2"] or "00"
        if int(hour) > 24 or int(minute) > 59:
            return f"{hour} {versus} {minute}" if groups["m"] else None
        h = language.spell(int(hour), time.get("rule", "cardinal"))
        single = int(hour) == 1
        whole = time.get("one", time["whole"]) if single else time["whole"]
        text = whole.format(h=h)
        if int(minute):
            form = time["small"] if "small" in time and int(minute) < 10 else time["minutes"]
            if single:
                form = time.get("one_minutes", form)
            text = form.format(h=h, m=language.spell(int(minute)))
        elif not time.get("oclock", True) and half_day.match(match.string, match.end()):
            text = h
        if groups["s"] and int(groups["s"]):
            text = time["seconds"].format(t=text, s=language.spell(int(groups["s"])))
        return text

    ranged = rf"(?<![\d:.,])({one})\s?[-–—]\s?(?={one})"
    ratio = r"(?<![\d:.,])(\d+)\s?:\s?(\d+)(?![\d:]|[.,]\d)"
    return [
        digits(ranged, lambda match: f"{match[1]} {data['to']} "),
        digits(pattern, say),
        digits(ratio, lambda match: f"{match[1]} {versus} {match[2]}"),
    ]
