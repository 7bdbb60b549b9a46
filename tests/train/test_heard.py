"""What a recogniser hears where a model speaks, and an ear that learns from it."""

import json

import numpy as np
import pytest

from ptts_jax import audio, tts
from ptts_jax.model.ear import labels as sounds_of
from ptts_jax.train import ear, heard
from ptts_jax.train.data.corpus import open_corpus
from ptts_jax.train.evaluate import whisper
from tests.support import tiny_files, training
from tests.train.test_ear import command as train
from tests.train.test_ear import folder  # noqa: F401 -- the fixture


@pytest.fixture(autouse=True, scope="module")
def quick():
    yield from training.quick_compilation()


@pytest.fixture
def said(folder, monkeypatch):  # noqa: F811
    """Runs the command where a recogniser always hears the same; gives back what it was given."""
    waves = []

    def hear(some, rate, brief):
        assert brief
        waves.extend(some)
        return ["It is so." for _ in some]

    monkeypatch.setattr(whisper, "check", lambda: None)
    monkeypatch.setattr(whisper, "hear", hear)
    audio.write(folder / "voice.wav", tiny_files.speech(1.0), 16_000)

    def run(*more):
        waves.clear()
        names = ("--model={}/model.safetensors", "--corpus={}/corpus", "--out={}/heard")
        flags = [name.format(folder) for name in names]
        done = heard.main(["heard", *flags, f"--voices={folder}/voice.wav", "--quiet", *more])
        return done, [len(wave) for wave in waves]

    return run


def test_chunks_are_heard_once_and_kept(folder, said, monkeypatch):  # noqa: F811
    monkeypatch.setattr(heard, "PART", 2)
    done, waves = said("--sentences=3")
    assert done == 0
    kept = heard.read(folder / "heard")
    model = tts.load(folder / "model.safetensors")
    assert len(waves) == len(kept) >= 3
    texts = heard.texts(open_corpus(folder / "corpus"), ["a"], 3, 0)
    assert sum(len(one.tokens) for one in kept) >= sum(
        len(model.tokenizer.encode(text)) for _, text in texts
    )
    frame = model.config.mimi.frame_size
    assert sorted(waves) == sorted(len(one.latents) * frame for one in kept)
    assert {one.words for one in kept} == {"It is so."}

    assert said("--sentences=3") == (0, [])  # all of it is there
    first = sorted((folder / "heard").glob("*.npz"))[0]
    first.unlink()
    again = said("--sentences=3")
    assert again[0] == 0 and len(again[1]) == 2
    for one, other in zip(kept, heard.read(folder / "heard"), strict=True):
        np.testing.assert_array_equal(one.latents, other.latents)


def test_half_of_the_texts_are_drills_where_there_are_such(folder):  # noqa: F811
    corpus = open_corpus(folder / "corpus")
    speaker = corpus.speakers[0]
    clips = [clip.text for clip in corpus.select("train", speaker)]
    corpus.recipe["drills"] = len(clips) // 2
    chosen = [text for _, text in heard.texts(corpus, ["a"], 4, 0)]
    drills = set(clips[len(clips) - len(clips) // 2 :])
    assert len(chosen) == 4 and sum(text in drills for text in chosen) == 2


def test_an_ear_learns_from_it(folder, said):  # noqa: F811
    assert said("--sentences=12")[0] == 0
    flags = ("--steps=20", f"--heard={folder}/heard")
    assert train(folder, *flags) == 0
    rows = list(map(json.loads, (folder / "run" / "log.jsonl").read_text().splitlines()))
    assert [row["heard_nats"] for row in rows if "heard_nats" in row][-1] > 0


def test_what_was_misheard_has_the_sounds_that_were_heard(folder):  # noqa: F811
    model = tts.load(folder / "model.safetensors")
    pieces = [model.tokenizer.piece(i) for i in range(model.config.flow_lm.lookup_table.n_bins)]
    labels = sounds_of(pieces)
    tokens = np.array(model.tokenizer.encode("the cat sat."))
    latents = np.zeros((40, model.config.mimi.latent_dim), np.float32)

    def sounds(words):
        found = ear._with_sounds(heard.Heard(latents, tokens, words), model, labels)
        return None if found is None else found[1].tolist()

    wanted = [i for i in labels[tokens] if i]
    assert sounds("The cat sat!") == wanted
    other = labels[model.tokenizer.encode("the hat sat")]
    assert sounds("The hat sat.") == [i for i in other if i] != wanted
    assert sounds("the cat " * 20) is None


def test_a_folder_without_it_is_refused(folder, capsys):  # noqa: F811
    assert train(folder, "--steps=2", f"--heard={folder}/nothing") == 1
    assert "python -m ptts_jax.train.heard" in capsys.readouterr().err
