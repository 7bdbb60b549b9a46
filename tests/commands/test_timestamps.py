"""speak --timestamps: words and their times in a file."""

import json
import re
from pathlib import Path

import pytest
import soundfile

from ptts_jax.engine import checks, effects, heads, subtitles
from ptts_jax.engine.checks import Fault
from ptts_jax.engine.heads import Heads
from ptts_jax.engine.timing import Word
from tests.commands.test_reading import run  # noqa: F401

TEXT = "It costs $5.20. [pause 1] Not more, I say."


def test_json_has_every_word_and_its_place(run):  # noqa: F811
    assert run("--timestamps=out.json", "--output=out.wav", TEXT)[0] == 0
    words = json.loads(Path("out.json").read_text())["words"]
    assert [w["word"] for w in words] == ["It", "costs", "$5.20.", "Not", "more,", "I", "say."]
    assert [TEXT[slice(*w["characters"])] for w in words] == [w["word"] for w in words]
    times = [at for w in words for at in (w["start"], w["end"])]
    assert times == sorted(times) and times[-1] <= soundfile.info("out.wav").duration
    assert words[3]["start"] - words[2]["end"] > 0.95
    before = Path("out.wav").read_bytes()
    assert run("--output=out.wav", TEXT)[0] == 0
    assert Path("out.wav").read_bytes() == before, "who is not watched speaks alike"


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_end_with_sentences(run, kind):  # noqa: F811
    assert run(f"--timestamps=out.{kind}", TEXT)[0] == 0
    text = Path(f"out.{kind}").read_text()
    assert text.startswith("WEBVTT\n\n" if kind == "vtt" else "1\n")
    plain = re.sub(r" <[\d:.]+>", " ", text)
    assert "\nIt costs $5.20.\n" in plain and "\nNot more, I say.\n" in plain
    assert plain.count(" --> ") == 2


def test_no_subtitle_is_long():
    words = [Word(f"word{i}", 0.5 * i, 0.5 * i + 0.4, (0, 1)) for i in range(60)]
    words.append(Word("late", 40.0, 40.5, (0, 1)))
    groups = subtitles.cues(words)
    assert [w for group in groups for w in group] == words
    for group in groups:
        assert group[-1].end - group[0].start <= subtitles.LASTS
        assert len(" ".join(w.text for w in group)) <= subtitles.LONGEST
    assert groups[-1] == words[-1:]


def test_what_looks_like_a_tag_is_none(tmp_path):
    path = tmp_path / "a.vtt"
    subtitles.write(path, [Word("a<b>&c", 3599.9996, 3661.5, (0, 6))])
    assert path.read_text() == "WEBVTT\n\n01:00:00.000 --> 01:01:01.500\na&lt;b&gt;&amp;c\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--timestamps=out.txt"], "out.txt: name a file that ends in .srt, .vtt, .json"),
        (["--timestamps=no/out.srt"], "no/out.srt: name a file in a folder that exists"),
    ],
)
def test_mistakes_are_said_before_the_work(run, tmp_path, words, error):  # noqa: F811
    code, out, err = run(*words, "Hi.", model="none.yaml")
    assert (code, out) == (1, "") and err.startswith(f"error: {error}") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_check_tells_what_was_wrong_and_writes_it(run, monkeypatch):  # noqa: F811
    turns = iter(
        [[Fault("skipped", "costs", (3, 8))], [], *[[Fault("repeated", "I", (33, 34))]] * 4]
    )
    monkeypatch.setattr(checks, "faults", lambda *_: next(turns))
    code, _, err = run("--check", "--timestamps=out.json", "--output=out.wav", TEXT)
    assert code == 0 and err == "warning: repeated after 4 tries: 'I'\n"
    assert json.loads(Path("out.json").read_text())["checks"] == [
        {"faults": [], "tries": 2},
        {"faults": [{"kind": "repeated", "text": "I", "characters": [33, 34]}], "tries": 4},
    ]


def checked(run, *words) -> tuple[int, str]:  # noqa: F811
    """How many chunks were checked, and what was said."""
    looked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "faults", lambda *_: looked.append(1) or [])
        code, _, err = run(*words, TEXT)
    assert code == 0
    return len(looked), err


def test_files_are_checked_where_it_is_of_use(run, monkeypatch):  # noqa: F811
    assert checked(run)[0] == 0, "nobody has published this model's heads"
    assert checked(run, "--check")[0] == 2
    monkeypatch.setattr(heads, "known", lambda *_: Heads(((0, 0),)))
    assert checked(run)[0] == 2
    before = Path("out.wav").read_bytes()
    assert checked(run, "--nocheck")[0] == 0
    assert Path("out.wav").read_bytes() == before, "what was said right is the same without a check"
    assert checked(run, "--output=-")[0] == 0, "who listens does not wait for whole sentences"
    assert checked(run, "--output=-", "--check")[0] == 2


def test_the_best_of_several(run):  # noqa: F811
    assert checked(run, "--best_of=2")[0] == 4
    assert checked(run, "--best_of=1")[0] == 0
    count, err = checked(run, "--best_of=2", "--temperature=0", "--noquiet")
    assert count == 0 and "--best_of: without effect at temperature 0\n" in err


def test_several_ways_of_a_model_that_knows_one_are_none(run, monkeypatch):  # noqa: F811
    monkeypatch.setattr(effects, "looks_at_noise", lambda *_: False)
    count, err = checked(run, "--best_of=2", "--noquiet")
    assert count == 0 and "--best_of: without effect on this model\n" in err
