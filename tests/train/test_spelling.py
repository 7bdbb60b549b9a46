"""Words as they are compared: what two writers spell differently is the same."""

import pytest

from ptts_jax.train.evaluate.spelling import words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is 9.", "it is nine"),
        ("In the harbour", "in the harbor"),
        ("neighbours' colourful houses", "neighbors' colorful houses"),
        ("She realised it", "She realized it"),
        ("they travelled", "they traveled"),
        ("twenty-one years", "21 years"),
        ("1,200 people", "one thousand two hundred people"),
        ("the 21st of May", "the twenty first of May"),
        ("the 30th", "the thirtieth"),
        ("the 3rd", "the third"),
        ("$5", "five dollars"),
        ("10%", "ten percent"),
        ("in the 90s", "in the nineties"),
        ("in cafés", "in cafes"),
        ("don’t", "don't"),
        ("Mr. Smith", "mister smith"),
        ("at 3:10", "at three ten"),
        ("1234567", "one two three four five six seven"),
    ],
)
def test_the_same(one, other):
    assert words(one) == words(other)


@pytest.mark.parametrize("text", ["four hours", "our hour", "wise for all", "it's ours"])
def test_what_is_no_other_spelling_stays(text):
    assert words(text) == text.split()


def test_nothing():
    assert words("") == words("... - '") == []
