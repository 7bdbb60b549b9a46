"""Tables of what a command refuses."""

import shlex

import pytest


def mistakes(table: str) -> pytest.MarkDecorator:
    """A test for each line "words as they are typed | what is said": its arguments words, said."""
    rows = [line.split("|", 1) for line in table.strip().splitlines()]
    cases = [(shlex.split(words), said.strip()) for words, said in rows]
    names = [words.strip() or "no words" for words, _ in rows]
    return pytest.mark.parametrize(("words", "said"), cases, ids=names)
