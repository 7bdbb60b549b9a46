"""A corpus on disk, and one made of a user's recordings."""

import json
import os
import sys

import numpy as np
import pytest
import soundfile

from ptts_jax.train.data import command as data
from ptts_jax.train.data import corpus, pairs, recipe
from tests.support import tiny_files

# A corpus on disk


CLIPS = [
    ("One two.", "a", "train", np.arange(5, dtype=np.int16)),
    ("Über three.", "b", "heldout", np.array([-32767, 32767], np.int16)),
]


def test_a_corpus_keeps_what_it_was_given(tmp_path):
    made = corpus.write_corpus(tmp_path / "c", CLIPS, 8000, {"seed": 1})
    assert made.sample_rate == 8000 and made.recipe == {"seed": 1}
    assert [(c.text, c.speaker, c.split) for c in made.clips] == [c[:3] for c in CLIPS]
    assert np.array_equal(corpus.to_pcm(made.audio(made.clips[0])), CLIPS[0][3])
    assert made.audio(made.clips[1]).tolist() == [-1.0, 1.0]
    assert made.select("train") == made.clips[:1] == made.select(speaker="a")
    assert made.select("train", "b") == ()
    assert np.load(tmp_path / "c" / "pcm.npy").shape == (7,)
    with pytest.raises(ValueError, match="no speaker 'z': choose of a, b"):
        made.select(speaker="z")
    with pytest.raises(ValueError, match="split 'test'"):
        made.select("test")


def test_samples_out_of_range_are_held():
    assert corpus.to_pcm(np.array([-3.0, 0, 3])).tolist() == [-32767, 0, 32767]


def test_a_failure_leaves_no_corpus(tmp_path):
    corpus.write_corpus(tmp_path, CLIPS, 8000, {})

    def failing():
        yield CLIPS[0]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        corpus.write_corpus(tmp_path, failing(), 8000, {})
    with pytest.raises(ValueError, match="corpus.json is missing"):
        corpus.open_corpus(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips.jsonl", "pcm.npy"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("corpus.json", b"{", "damaged"),
        ("corpus.json", b"{}", "damaged"),
        ("clips.jsonl", b"", "do not agree"),
        ("clips.jsonl", b'{"text": "a"}\n', "damaged"),
        ("pcm.npy", b"", "damaged"),
        ("pcm.npy", b"\x80\x04K\x01.", "damaged"),
        ("pcm.npy", None, "damaged"),
    ],
)
def test_a_damaged_corpus(tmp_path, file, content, words):
    corpus.write_corpus(tmp_path, CLIPS, 8000, {})
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        corpus.open_corpus(tmp_path)
    assert "python -m ptts_jax.train.data" in str(caught.value)
    assert "\n" not in str(caught.value)


# A user's recordings


def record(folder, name, text="A few words of mine", seconds=1.2, rate=24000, wave=None):
    path = folder / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tiny_files.speech(seconds, rate) if wave is None else wave, rate)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "mine"
    for number in range(30):
        record(folder, f"anna/{number}", f"These are \n {number} words of hers.")
    record(folder, "bert/0", "These are 0 words of hers!")
    record(folder, "own", "And this is\tmine.")
    return folder


def test_recordings_become_a_corpus(recordings, tmp_path):
    out = tmp_path / "out"
    assert data.main(["data", f"--out={out}", f"--source={recordings}", "--sample_rate=8000"]) == 0
    made = corpus.open_corpus(out)
    assert made.sample_rate == 8000 and len(made.clips) == 32
    assert set(made.speakers) == {"anna", "bert", "mine"}
    assert made.select(speaker="mine")[0].text == "And this is mine."
    assert all(abs(c.length / 8000 - 1.5) < 0.05 for c in made.clips)
    held = {recipe.plain(c.text) for c in made.select("heldout")}
    assert len(held) == 1
    assert not held & {recipe.plain(c.text) for c in made.select("train")}


def test_a_sentence_is_held_out_in_every_voice(recordings):
    found = pairs.find(recordings)
    for seed in range(200):
        held = pairs._held_out(found, seed)
        if "these are 0 words of hers" in held:
            break
    splits = {(c[0], c[1]): c[2] for c in pairs.clips(recordings, found, 8000, seed)}
    assert splits["These are 0 words of hers.", "anna"] == "heldout"
    assert splits["These are 0 words of hers!", "bert"] == "heldout"


def problems(folder, tmp_path, capsys):
    assert data.main(["data", f"--out={tmp_path / 'out'}", f"--source={folder}"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "corpus.json").exists()
    return error


def test_audio_and_text_without_the_other(recordings, tmp_path, capsys):
    record(recordings, "alone", text=None)
    (recordings / "only.txt").write_text("Words")
    (recordings / "blank.txt").write_text(" .\n")
    record(recordings, "blank", text=" .\n")
    (record(recordings, "latin").with_suffix(".txt")).write_bytes(b"caf\xe9")
    error = problems(recordings, tmp_path, capsys)
    assert "4 problems" in error
    assert "alone.wav has no text (alone.txt is missing)" in error
    assert "only.txt has no audio (only.wav is missing)" in error
    assert "blank.txt holds no words" in error
    assert "latin.txt is not readable as UTF-8" in error


def test_audio_that_cannot_be_used(recordings, tmp_path, capsys):
    (record(recordings, "broken")).write_bytes(b"RIFF, but not really")
    record(recordings, "silent", wave=np.zeros(24000))
    record(recordings, "tick", wave=np.zeros(10))
    record(recordings, "mixed", text="far too many words for so little of sound " * 9)
    record(recordings, "slow", text="No", seconds=9)
    error = problems(recordings, tmp_path, capsys)
    assert "5 problems" in error
    assert "broken.wav: not readable as audio" in error
    assert "silent.wav: the audio is silent" in error and "tick.wav: the audio is silent" in error
    assert "mixed.wav: 1.2 s of sound cannot be the" in error
    assert "slow.wav: 9.0 s of sound cannot be the 2 characters" in error


def test_many_problems_are_counted(recordings, tmp_path, capsys):
    for number in range(9):
        record(recordings, f"more/{number}", text=None)
    error = problems(recordings, tmp_path, capsys)
    assert "9 problems" in error and "and 4 more" in error


def test_too_few_sentences(tmp_path, capsys):
    for number in range(6):
        record(tmp_path / "few", f"{number}", "Always the same.")
    assert "at least 4 different sentences" in problems(tmp_path / "few", tmp_path, capsys)


def test_a_full_disk_is_one_line(installed, small, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(np, "savez", full)
    assert data.main(["data", f"--out={tmp_path / 'out'}", "--sentences=4"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "parts").glob("*.npz"))


def test_the_module_runs_as_a_command():
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "ptts_jax.train.data", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "--source" in done.stdout
    assert json.dumps(done.stderr) == '""'
