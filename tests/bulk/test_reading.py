"""The input: its lines in every format, and what is wrong with one, by its number."""

import io
import json
import sys

import pytest

from ptts_jax.bulk.lines import Line, Settings
from ptts_jax.bulk.reading import Source
from ptts_jax.engine.request import Options

SETTINGS = Settings(Options(temperature=0.5), voice="alba", keep=["speaker"])


def lines(tmp_path, content: str | bytes, name: str, size: int = 100, format=None) -> list[Line]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = Source(str(path), format, SETTINGS.keep)
    return [line for shard in source.shards(size) for line in source.parsed(shard, SETTINGS)]


def test_json_lines_say_what_their_fields_say(tmp_path):
    content = (
        '{"text": "One.", "id": 7, "voice": "marius", "seed": 3, "speaker": "x"}\n\n'
        '{"text": "Two.", "normalize": true, "speed": 1.5, "model": "german"}\n'
    )
    one, two = lines(tmp_path, content, "lines.jsonl")
    assert (one.number, one.text, one.id, one.voice) == (1, "One.", "7", "marius")
    assert one.options == Options(temperature=0.5, seed=3) and one.kept == {"speaker": "x"}
    assert (two.number, two.model, two.voice) == (3, "german", "alba")
    assert two.manner.normalize and two.manner.speed == 1.5 and two.options == SETTINGS.options


def test_tables_and_texts_say_the_same(tmp_path):
    rows = 'id,text,seed,markup,speaker\na,"One, or\ntwo.",3,no,x\n,Three.,,yes,\n'
    one, two = lines(tmp_path, "\ufeff" + rows, "lines.csv")
    assert (one.number, one.id, one.text) == (2, "a", "One, or\ntwo.")
    assert one.options.seed == 3 and not one.manner.markup and one.kept == {"speaker": "x"}
    assert (two.number, two.id, two.text, two.options.seed) == (4, None, "Three.", None)
    assert two.manner.markup and two.kept == {}
    [tab] = lines(tmp_path, "text\tvoice\nHi, all.\tbob\n", "lines.tsv")
    assert (tab.text, tab.voice) == ("Hi, all.", "bob")
    texts = lines(tmp_path, "One.\r\n\r\n  Two.  \n", "lines.txt")
    assert [(line.number, line.text) for line in texts] == [(1, "One."), (3, "Two.")]
    [named] = lines(tmp_path, '{"text": "A text."}', "lines.log", format="jsonl")
    assert named.text == "A text."


def test_shards_are_of_one_size_but_the_last(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("a.\nb.\n\nc.\nd.\ne.\n")
    shards = list(Source(str(path), None).shards(2))
    numbers = [[number for number, _ in shard.contents] for shard in shards]
    assert numbers == [[1, 2], [4, 5], [6]]
    assert [shard.last for shard in shards] == [False, False, True]
    assert len({shard.digest() for shard in shards}) == 3
    assert [s.digest() for s in Source(str(path), None).shards(2)] == [s.digest() for s in shards]


@pytest.mark.parametrize(
    "line, error",
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        ("[" * 100_000, "not JSON: too many brackets"),
        ('["One."]', 'give an object, as {"text": "Hello."}'),
        ('{"txt": "One."}', "there is no text"),
        ('{"text": " "}', "there is no text"),
        (
            '{"text": "One.", "sed": 3}',
            "'sed': there is no such field; did you mean seed or speed?",
        ),
        ('{"text": "One.", "seed": "3"}', "seed 3: give a whole number"),
        ('{"text": "One.", "speed": 9}', "speed 9: give a number from 0.25 to 4"),
        ('{"text": "One.", "id": "../x"}', "id '../x': give up to 150 letters"),
        ('{"text": "One.", "id": true}', "id True: give up to 150 letters"),
        ('{"text": "One.", "voice": 3}', "voice 3: give a name"),
        ('{"text": "One.", "lexicon": "none.txt"}', "none.txt"),
        (b'{"text": "caf\xe9"}', "not UTF-8 text"),
        ('{"text": "\\ud83d"}', "not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_of_that_line_alone(tmp_path, line, error):
    around = b'{"text": "Fine."}\n'
    line = line if isinstance(line, bytes) else line.encode()
    found = lines(tmp_path, around + line + b"\n" + around, "lines.jsonl")
    assert [one.number for one in found] == [1, 2, 3]
    assert found[0].error is None and found[2].error is None
    assert error in found[1].error
    json.dumps(found[1].text).encode()  # the index can hold it


def test_rows_that_do_not_fit(tmp_path):
    found = lines(tmp_path, "text,seed\na.,1,2\nb.,x\nc.,\n", "lines.csv")
    assert found[0].error == "3 cells where the first row has 2"
    assert found[1].error == "seed x: give a whole number"
    assert found[2].error is None


@pytest.mark.parametrize(
    "content, name, error",
    [
        ("id\na\n", "x.csv", "its first row names no column `text`"),
        ("text,text\na,b\n", "x.csv", "its first row names a column twice"),
        (
            "text,sed\na,b\n",
            "x.csv",
            "column 'sed': there is no such field; did you mean seed or speed?",
        ),
        ('text\n"a\n' + 200_000 * "b", "x.csv", "from line 2 on it is no table"),
        ("\n \n", "x.txt", "is empty: there is nothing to say"),
        ("text\n", "x.csv", "is empty: there is nothing to say"),
    ],
)
def test_an_input_that_is_none(tmp_path, content, name, error):
    with pytest.raises(ValueError, match="x.(csv|txt)") as raised:
        lines(tmp_path, content, name)
    assert error in str(raised.value)


def test_an_input_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="none.jsonl: No such file or directory; check the path"):
        Source(str(tmp_path / "none.jsonl"), None)
    with pytest.raises(ValueError, match="Is a directory"):
        Source(str(tmp_path), None)


def test_a_line_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("ptts_jax.bulk.reading.LONGEST", 100)
    with pytest.raises(ValueError, match="line 2 has more than 100 characters"):
        lines(tmp_path, "One.\n" + 200 * "a", "x.txt")


def test_standard_input_is_read_as_it_comes(monkeypatch):
    """A million lines take no more memory than a shard."""
    taken = 0

    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            nonlocal taken
            data = b'{"text": "One."}\n' * (len(buffer) // 17)
            buffer[: len(data)] = data
            taken += len(data)
            return len(data)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    source = Source("-", None)
    shards = source.shards(10)
    first, second = next(shards), next(shards)
    assert taken < 100_000 and not first.last
    assert [line.text for line in source.parsed(second, SETTINGS)] == ["One."] * 10
