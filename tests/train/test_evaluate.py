"""The judgement of a model and of a codec as commands."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import soundfile

from ptts_jax import audio, text, tts
from ptts_jax.engine import voices
from ptts_jax.model import codec, schema
from ptts_jax.train.data import corpus
from ptts_jax.train.evaluate import command as evaluate
from ptts_jax.train.evaluate import (
    judges,
    recogniser,
    rows,
    speakers,
)
from ptts_jax.train.run import checkpoint
from tests.support import tiny_files
from tests.support.mistakes import mistakes

RATE = 16_000


TEXTS = ("We are at home.", "She has a dog.", "They were late again today.", "At 5 he was here.")


@pytest.fixture(scope="module")
def loaded(files):
    return tts.load(files.yaml)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two speakers, held-out sentences of different lengths."""
    clips = [
        (text, name, split, corpus.to_pcm(tiny_files.speech(1.0 + 0.3 * i, RATE, seed)))
        for seed, name in enumerate(("ann", "bob"))
        for i, (text, split) in enumerate(
            [("Train on it.", "train"), *((t, "heldout") for t in TEXTS)]
        )
    ]
    return corpus.write_corpus(tmp_path_factory.mktemp("corpus"), clips, RATE, {"seed": 0})


@pytest.fixture
def ears(monkeypatch):
    """A recogniser that hears the first held-out sentence, always."""
    monkeypatch.setattr(recogniser, "check", lambda: None)
    monkeypatch.setattr(recogniser, "hear", lambda waves, rate: ["we are at home"] * len(waves))
    monkeypatch.setattr(judges, "NAMES", ("pocketsphinx",))


def run(*flags):
    return evaluate.main(["evaluate", *map(str, flags)])


def test_the_command(files, made, ears, tmp_path, capsys):
    flags = (f"--model={files.yaml}", f"--corpus={made.path}", "--sentences=2")
    flags = (*flags, "--int8", "--check")
    assert run(*flags, f"--out={tmp_path / 'a'}") == 0
    printed = capsys.readouterr().out
    data = json.loads((tmp_path / "a" / "report.json").read_text())
    assert printed.strip() in (tmp_path / "a" / "report.md").read_text()
    found = {(r["row"], r["speaker"]): r for r in data["rows"]}
    names = ("teacher", "codec", "model", "checked", "int8")
    assert set(found) == {(n, s) for n in names for s in ("ann", "bob", "all")}
    assert found["teacher", "all"]["wer"]["pocketsphinx"]["value"] == pytest.approx(
        8 / 16
    )  # one right of two
    assert found["codec", "ann"]["duration"] == pytest.approx(1.0)
    assert found["model", "ann"]["sentences"] == 2
    for name in names:
        files = sorted(p.name for p in (tmp_path / "a" / "audio" / name).iterdir())
        assert files == ["ann-00.wav", "ann-01.wav", "bob-00.wav", "bob-01.wav"]
    assert run(*flags, f"--out={tmp_path / 'b'}") == 0
    again = json.loads((tmp_path / "b" / "report.json").read_text())
    assert again == data  # fixed seeds


def test_a_model_speaks_as_it_does_elsewhere(loaded, made):
    voice = evaluate.voice(loaded, made, "ann")
    lines = [*TEXTS, TEXTS[1], "He has 3 & I 12.", "It is so. " * 18]  # in eight chunks
    count = sum(len(text.chunks(t, loaded.tokenizer, loaded.config)) for t in lines)
    assert count == speakers.BATCH > len(lines)
    spoken = speakers.speak(loaded, lines, voice, seed=5)
    seeds = [5 + i for i in range(len(lines))]
    alone = loaded.generate_batch(lines, voice, seed=seeds, normalize=True)
    for one, other in zip(spoken, alone, strict=True):
        assert len(one.wave) == len(other)
        np.testing.assert_allclose(one.wave, other, atol=2e-4)


def test_a_speech_without_end_is_told(loaded, made):
    never = jax.tree.map(np.asarray, loaded.params)
    never["lm"]["eos"] = {"w": never["lm"]["eos"]["w"] * 0, "b": np.full(1, -99, np.float32)}
    endless = tts.TTS("endless", loaded.config, never, loaded.tokenizer, True)
    assert not any(s.ended for s in speakers.speak(endless, TEXTS[:2], endless.voice(noise()), 0))
    soon = jax.tree.map(np.asarray, never)
    soon["lm"]["eos"]["b"] = np.full(1, 99, np.float32)
    quick = tts.TTS("quick", loaded.config, soon, loaded.tokenizer, True)
    assert all(s.ended for s in speakers.speak(quick, TEXTS[:2], quick.voice(noise()), 0))


def noise():
    return tiny_files.speech(1.0)


def test_a_codec_repeats_each_clip_as_if_alone(loaded):
    c = loaded.config.mimi
    waves = [tiny_files.speech(s, seed=i) for i, s in enumerate((1.97, 2.0))]
    decode = jax.jit(codec.decode, static_argnums=1)
    for wave, got in zip(waves, speakers.repeat(loaded.params["codec"], c, waves), strict=True):
        padded = np.pad(wave, (0, -len(wave) % c.frame_size))[None]
        latents = voices.encode(loaded.params, loaded.config, padded[0])
        out, _ = decode(loaded.params["codec"], c, latents, codec.decoder_state(c, 1))
        assert len(got) == len(wave)
        np.testing.assert_allclose(got, out[0, : len(wave)], atol=1e-5)


def test_a_codec_that_cannot_repeat(loaded):
    c = dataclasses.replace(loaded.config.mimi, inner_dim=None)
    with pytest.raises(ValueError, match="16 numbers a frame and the decoder takes 8"):
        speakers.repeat(loaded.params["codec"], c, [noise()])


def test_a_codec_alone(loaded, made, ears, tmp_path):
    c = loaded.config.mimi
    meta = {"mimi": schema.write(c)}
    checkpoint.save(tmp_path / "run", {"ema": loaded.params["codec"]}, 7, meta)
    flags = (f"--codec={tmp_path / 'run'}", f"--corpus={made.path}", "--speakers=bob")
    assert run(*flags, f"--out={tmp_path / 'out'}") == 0
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    assert data["step"] == 7
    assert [(r["row"], r["speaker"]) for r in data["rows"]] == [
        ("teacher", "bob"),
        ("codec", "bob"),
    ]
    wave, rate = soundfile.read(tmp_path / "out" / "audio" / "codec" / "bob-00.wav")
    assert rate == c.sample_rate
    assert len(wave) == pytest.approx((1.3 + audio.TAIL) * rate, rel=0.01)


def test_held_out_sentences(made):
    assert [c.text for c in rows.held_out(made, "ann", 9)] == list(TEXTS[:3])  # without digits
    assert len(rows.held_out(made, "ann", 2)) == 2


def test_nothing_to_judge(tmp_path):
    clips = [("No.", "ann", "heldout", np.ones(9, np.int16))]
    made = corpus.write_corpus(tmp_path, clips, RATE, {})
    with pytest.raises(ValueError, match="no held-out sentence of ann"):
        rows.held_out(made, "ann", 60)


def test_a_voice_is_cloned_from_a_sentence_or_given(loaded, made, tmp_path):
    prompt = speakers.prompt(made, "bob")
    assert np.array_equal(prompt, made.audio(made.select("train", "bob")[0]))
    cloned = evaluate.voice(loaded, made, "bob")
    cloned.save(tmp_path / "v.safetensors")
    given = evaluate.voice(loaded, made, "ann", str(tmp_path / "v.safetensors"))
    assert np.array_equal(given.k[0], cloned.k[0])
    assert not np.array_equal(evaluate.voice(loaded, made, "ann").k[0], cloned.k[0])


@mistakes(
    """
                                  | give --model
    --model=a --codec=b           | give --model
    --model=a --corpus=none       | none holds no whole corpus
    --model=a.yaml --speakers=eve | no speaker 'eve'
    --model=a.yaml --voices=x     | --voices: give one for each speaker (ann, bob)
    --model=a.yaml --sentences=0  | --sentences
    --codec=none                  | no checkpoint there
    --model=a --judges=bob        | no judge 'bob': choose of
    """
)
def test_flags_that_cannot_be(words, said, made, ears, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(f"--corpus={made.path}", f"--out={tmp_path / 'out'}", *words) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
