"""Nested dicts into frozen dataclasses and back, with every mistake reported at once.

Generic: knows nothing of models or files. A whole number must be at least 1 unless its field's
metadata says otherwise (`least`). A class may have `rules()`: (holds, what to say if not) pairs
about values that must go together.
"""

import math
import reprlib
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Any, get_args

Pairs = tuple[tuple[str, str], ...]  # how a mapping is kept, to be hashable


def near(word: str, words: Iterable[str]) -> str:
    """The end of an error message: the most similar of `words`, if any is similar."""
    similar = get_close_matches(word, list(words), n=2)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""


def write(section: Any) -> dict[str, Any]:
    """A dataclass as plain dicts and lists. A field that is None is left out."""
    out = {}
    for f in fields(section):
        value = getattr(section, f.name)
        if is_dataclass(value):
            value = write(value)
        elif isinstance(value, tuple):
            value = dict(value) if f.type == Pairs else list(value)
        if value is not None:
            out[f.name] = value
    return out


def read(cls: type, data: Any, where: str, problems: list[str]) -> Any:
    """`data` as an instance of `cls`; what is wrong goes to `problems`, all of it."""
    if not isinstance(data, dict):
        problems.append(f"{where or 'the file'}: expected a section, got {reprlib.repr(data)}")
        return None
    prefix = f"{where}." if where else ""
    names = [f.name for f in fields(cls)]
    for key in data:
        if key not in names:
            label = key if str(key).isidentifier() else reprlib.repr(key)
            problems.append(f"{prefix}{label}: unknown field{near(str(key), names)}")
    values, before = {}, len(problems)
    for f in fields(cls):
        if f.name in data:
            values[f.name] = _value(f.type, data[f.name], prefix + f.name, problems)
        elif f.default is MISSING:
            problems.append(f"{prefix}{f.name}: missing")
    if len(problems) > before:
        return None
    section = cls(**values)
    problems.extend(prefix + problem for problem in _problems(section))
    return section


def _value(kind: Any, value: Any, where: str, problems: list[str]) -> Any:
    if isinstance(kind, UnionType):  # X | None
        if value is None:
            return None
        kind = get_args(kind)[0]
    if is_dataclass(kind):
        return read(kind, value, where, problems)
    convert, expected = _SCALARS[kind]
    try:
        return convert(value)
    except (ValueError, TypeError, OverflowError):
        problems.append(f"{where}: expected {expected}, got {reprlib.repr(value)}")
    return None


def _int(value: Any) -> int:
    number = _float(value)
    if number != int(number) or abs(number) >= 2**31:  # nothing in a model is that large
        raise ValueError
    return value if isinstance(value, int) else int(number)


def _float(value: Any) -> float:
    """Numbers in quotes too: YAML takes 1e-2 for a text, the reference for a number."""
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _bool(value: Any) -> bool:
    if value not in (0, 1):
        raise TypeError
    return bool(value)


def _ints(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_int, value))


def _pairs(value: Any) -> Pairs:
    if not isinstance(value, dict) or any(len(_str(key)) != 1 for key in value):
        raise ValueError
    return tuple((key, _str(text)) for key, text in value.items())


_SCALARS: dict[Any, tuple[Any, str]] = {
    int: (_int, "a whole number"),
    float: (_float, "a number"),
    str: (_str, "a text"),
    bool: (_bool, "true or false"),
    tuple[int, ...]: (_ints, "a list of whole numbers"),
    Pairs: (_pairs, "a mapping from single characters to texts"),
}


def _problems(section: Any) -> list[str]:
    """What is wrong with values that are each of the right type."""
    problems = []
    for f in fields(section):
        value, least = getattr(section, f.name), f.metadata.get("least", 1)
        numbers = value if isinstance(value, tuple) else (value,)
        if any(type(n) is int and n < least for n in numbers):
            problems.append(f"{f.name}: must be at least {least}, got {value}")
    if not problems and hasattr(section, "rules"):
        problems = [message for holds, message in section.rules() if not holds]
    return problems
