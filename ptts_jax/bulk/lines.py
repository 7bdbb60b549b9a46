"""A line of the input: what is to be said, and how; or why it cannot be said."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ptts_jax.engine.request import Options, kind
from ptts_jax.model.schema import near
from ptts_jax.text.reading import Manner

# Ids are names of files, and in a tar whatever follows a point is the kind of file.
ID = re.compile(r"[\w+=@-]{1,150}")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Settings:
    """How to say what does not say it itself; the names of further fields that are kept."""

    options: Options = Options()
    manner: Manner = Manner()
    voice: str | None = None
    keep: Collection[str] = ()


@dataclass(frozen=True)
class Line:
    """One text. `number` is where it stands in the input, from 1."""

    number: int
    text: str
    id: str | None = None
    voice: str | None = None
    model: str | None = None
    options: Options = Options()
    manner: Manner = Manner()
    kept: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None  # why it cannot be said


_OPTIONS = {option.name: option for option in fields(Options)}
_MANNER = {option.name for option in fields(Manner)}
KNOWN = {"text", "id", "voice", "model", *_OPTIONS, *_MANNER}


def of_json(number: int, content: str, settings: Settings) -> Line:
    """A line of JSON: an object with a text and perhaps other fields."""
    try:
        given = json.loads(content)
        if not isinstance(given, dict):
            raise ValueError('give an object, as {"text": "Hello."}')
    except RecursionError:
        return _wrong(number, content, "not JSON: too many brackets")
    except ValueError as error:
        fault = isinstance(error, json.JSONDecodeError)
        said = f"not JSON: {error.msg} at character {error.pos + 1}" if fault else str(error)
        return _wrong(number, content, said)
    return of_fields(number, given, settings)


def of_cells(number: int, names: Sequence[str], cells: Sequence[str], settings: Settings) -> Line:
    """A row of a table; an empty cell says nothing."""
    if len(cells) != len(names):
        said = f"{len(cells)} cells where the first row has {len(names)}"
        return _wrong(number, ",".join(cells), said)
    try:
        given = {name: _typed(name, cell) for name, cell in zip(names, cells, strict=True) if cell}
    except ValueError as error:
        return _wrong(number, ",".join(cells), str(error))
    return of_fields(number, given, settings)


def check_names(names: Collection[str], keep: Collection[str]) -> None:
    """Refuse fields that nobody knows."""
    for name in names:
        if name not in KNOWN and name not in keep:
            hint = near(name, KNOWN)
            raise ValueError(f"{name!r}: there is no such field{hint}; --keep={name} only keeps it")


def of_fields(number: int, given: Mapping[str, Any], settings: Settings) -> Line:
    """A line by its fields."""
    text = given.get("text")
    try:
        if not isinstance(text, str) or not text.strip():
            raise ValueError("there is no text")
        _check_characters(given)
        if not given.keys() <= KNOWN:
            check_names(given.keys(), settings.keep)
        how = _how(given, settings)
        return Line(
            number,
            text,
            _id(given.get("id")),
            _name("voice", given.get("voice")) or settings.voice,
            _name("model", given.get("model")),
            *how,
            {name: given[name] for name in settings.keep if name in given},
        )
    except ValueError as error:
        try:
            own = _id(given.get("id"))
        except ValueError:
            own = None
        return _wrong(number, text if isinstance(text, str) else "", str(error), own)


def _how(given: Mapping[str, Any], settings: Settings) -> tuple[Options, Manner]:
    options = {name: given[name] for name in _OPTIONS if given.get(name) is not None}
    manner = {name: given[name] for name in _MANNER if given.get(name) is not None}
    if not options and not manner:
        return settings.options, settings.manner
    return (
        Options(**{**vars(settings.options), **options}),
        Manner(**{**vars(settings.manner), **manner}),
    )


def _typed(name: str, cell: str) -> Any:
    """A cell's text as what its column is of."""
    if name in ("normalize", "markup"):
        if cell.lower() not in (*TRUE, *FALSE):
            raise ValueError(f"{name} {cell}: give true or false")
        return cell.lower() in TRUE
    if name in _OPTIONS or name in ("speed", "loudness"):
        whole = name in _OPTIONS and kind(_OPTIONS[name]) is int
        try:
            return int(cell) if whole else float(cell)
        except ValueError:
            raise ValueError(f"{name} {cell}: give a {'whole ' * whole}number") from None
    return cell


def _id(given: Any) -> str | None:
    if given is None:
        return None
    name = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(name, str) or not ID.fullmatch(name):
        raise ValueError(f"id {given!r}: give up to 150 letters, digits and any of _ - + = @")
    return name


def _name(field: str, given: Any) -> str | None:
    if given is not None and (not isinstance(given, str) or not given):
        raise ValueError(f"{field} {given!r}: give a name")
    return given


def _check_characters(given: Mapping[str, Any]) -> None:
    """Bytes that are no UTF-8 were read as surrogates, and JSON may hold them too."""
    for value in given.values():
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("not UTF-8 text; save the input as such")


def _wrong(number: int, content: str, error: str, id: str | None = None) -> Line:
    text = "".join(c if c.isprintable() else "\ufffd" for c in content)
    return Line(number, text, id, error=error)
