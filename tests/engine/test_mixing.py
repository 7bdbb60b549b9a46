"""Mixed voices: rows that say the same text, and are heard as one."""

import numpy as np
import pytest

from ptts_jax.engine import loops, voices
from ptts_jax.engine.rows import Chunk, Rows
from ptts_jax.engine.service import Engine
from ptts_jax.model import generate
from tests.support import tiny_files

TEXT = "Three boats came down that morning! Was it 3.14 miles, or more?"
HOW = {"seed": 7, "max_tokens": 12}


@pytest.fixture(scope="module", autouse=True)
def named_voices(tts, folder):
    """anna and bert, as files of the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, name in enumerate(("anna", "bert")):
            tts.voice(tiny_files.speech(1.0 + number, seed=number)).save(f"{name}.safetensors")
        yield


def named(weights: str) -> str:
    return weights.replace("anna", "anna.safetensors").replace("bert", "bert.safetensors")


def near(a, b):
    assert a.shape == b.shape
    error = np.square(a - b).sum()
    assert error == 0 or 10 * np.log10(np.square(b).sum() / error) >= 100


def test_the_whole_of_one_voice_is_that_voice(tts):
    alone = tts.generate(TEXT, named("anna"), **HOW)
    np.testing.assert_array_equal(tts.generate(TEXT, named("anna:1.0"), **HOW), alone)
    near(tts.generate(TEXT, named("anna:0.5,anna:0.5"), **HOW), alone)
    almost = tts.generate(TEXT, named("anna:0.9999999,bert:0.0000001"), **HOW)
    assert almost.shape == alone.shape
    np.testing.assert_allclose(almost, alone, atol=1e-3)


def test_a_frame_is_the_mean_of_the_voices(tts):
    """Against rows that are told what the mean was: the sums are done here by hand."""
    mixed = tts.voice(named("anna:0.7,bert:0.3"))
    job = loops.Job((5, 6, 7, 8), 3, 40, 0, 3)
    rows = Rows(tts.weights, tts.config, tts.caches, [job])
    made = [frame.latent for frame in rows.whole(Chunk(job, mixed))]
    shape = loops.shape_for(tts.params, tts.config, tts.caches.kind, mixed.rows, [job])
    cache = tts.caches.kind.from_voices(shape, mixed.rows)
    state = loops.start(tts.params, tts.config, cache, [job] * 2)
    for number, latent in enumerate(made[:12]):
        noise = loops.draws(tts.config, [job] * 2, [number])[0]
        state, frame = generate.step(tts.params, tts.config, state, noise)
        both = np.asarray(frame.latent)
        assert np.abs(both[0] - both[1]).max() > 1e-3
        mean = 0.7 * both[0] + 0.3 * both[1]
        np.testing.assert_allclose(latent, mean, atol=1e-4)
        state = state.replace(latent=np.stack([mean, mean]))


def test_every_way_in_gives_the_same(tts):
    voice = tts.voice(named("anna:0.6,bert:0.4"))
    expected = tts.generate(TEXT, voice, **HOW)
    others = [tts.generate(TEXT, named(name), **HOW) for name in ("anna", "bert")]
    for other in others:
        assert expected.shape != other.shape or np.abs(expected - other).max() > 0.01
    near(np.concatenate(list(tts.stream(TEXT, voice, **HOW))), expected)
    texts = [TEXT, "One boat.", TEXT]
    waves = tts.generate_batch(texts, [voice, named("anna"), named("bert")], **HOW)
    near(waves[0], expected)
    near(waves[2], others[1])
    inside = f"[voice {named('anna:0.6,bert:0.4')}] {TEXT}"
    near(tts.generate(inside, named("bert"), **HOW, markup=True), expected)
    with Engine(tts, slots=2) as engine:
        beside = engine.submit(TEXT, named("anna"), **HOW)
        given = np.concatenate(list(engine.submit(TEXT, voice, **HOW)))
        np.testing.assert_array_equal(given, expected)
        near(np.concatenate(list(beside)), others[0])


def test_words_have_times_in_a_mixture_too(tts):
    _, words = tts.generate("One boat came.", named("anna:0.6,bert:0.4"), **HOW, words=True)
    assert len(words) == 3


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("anna:0.6,bert", "give every voice a weight, as alba:0.6,marius:0.4"),
        ("anna:0.6,bert:0.6", "the weights add up to 1.2; make them 1"),
        ("anna:2", "the weights add up to 2; make them 1"),
        ("anna:0,bert:1", "each more than 0"),
        ("anna:0.2,anna:0.2,anna:0.2,anna:0.2,anna:0.2", "5 voices; at most 4 can be mixed"),
        ("anna:0.5,nobody.wav:0.5", "nobody.wav"),
    ],
)
def test_what_cannot_be_mixed(tts, name, error):
    with pytest.raises(ValueError, match=error) as caught:
        tts.voice(named(name))
    assert "\n" not in str(caught.value)


def test_a_mixture_is_no_file(tts, tmp_path):
    with pytest.raises(ValueError, match="a mixture of voices has no state of its own"):
        tts.voice(named("anna:0.5,bert:0.5")).save(tmp_path / "mixed.safetensors")


def test_names_that_only_look_like_mixtures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:1.5").touch()
    for name in ("my, voice.wav", "a:1.5", "https://host:8000", "hf://a/b@c"):
        assert voices.mixture(name, lambda name: 1 / 0) is None
