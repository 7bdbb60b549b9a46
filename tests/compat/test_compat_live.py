"""The original beside its drop-in: the same calls, the same audio, and its own examples."""

import importlib.metadata
import inspect
import re
import threading
from types import SimpleNamespace

import pocket_tts
import pytest
import soundfile
import torch

from ptts_jax import compat
from ptts_jax.model import config, released
from ptts_jax.store import hfhub
from tests.support import oracle
from tests.support.fakehub import FakeHub
from tests.support.prompts import prompt_audio

TEXT = "The river was wide. Three boats came down that morning, and nobody said a word about it."
EXAMPLES = [
    code
    for code in re.findall(
        r"```python\n(.*?)```", importlib.metadata.metadata("pocket-tts").get_payload(), re.DOTALL
    )
    if "cuda" not in code
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Both models from the same files, and a recording."""
    folder = tmp_path_factory.mktemp("compat")
    files = oracle.build("english", 7, folder, tokenizer="json")
    soundfile.write(folder / "some_voice.wav", prompt_audio(3.3, rate=16000), 16000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
        sides = [
            package.TTSModel.load_model(config=str(files.yaml), temp=0.0)
            for package in (pocket_tts, compat)
        ]
    return SimpleNamespace(
        folder=folder, files=files, theirs=sides[0], ours=sides[1], wav=folder / "some_voice.wav"
    )


def snr(want: torch.Tensor, got: torch.Tensor) -> float:
    assert got.shape == want.shape and got.dtype == want.dtype and type(got) is type(want)
    return 10 * float(torch.log10(want.square().sum() / (want - got).square().sum()))


def test_names_and_arguments_are_the_same():
    for name in (
        "load_model",
        "get_state_for_audio_prompt",
        "generate_audio",
        "generate_audio_stream",
    ):
        want, got = (
            inspect.signature(getattr(package.TTSModel, name)).parameters
            for package in (pocket_tts, compat)
        )
        assert list(got) == list(want)
        assert [p.default for p in got.values()] == [p.default for p in want.values()]
    assert set(pocket_tts.__all__) == set(compat.__all__)


def test_properties_are_the_same(pair):
    assert pair.ours.sample_rate == pair.theirs.sample_rate
    assert pair.ours.device == pair.theirs.device
    for name in ("temp", "sampler_decode_steps", "noise_clamp", "eos_threshold"):
        assert getattr(pair.ours, name) == getattr(pair.theirs, name)
    assert pair.ours.to("cpu") is pair.ours


@pytest.mark.parametrize("source", ["path", "name", "samples", "truncated"])
def test_the_same_voice_says_the_same(pair, source):
    given = {
        "path": pair.wav,
        "name": str(pair.wav),
        "samples": torch.tensor(prompt_audio(1.5))[None],
        "truncated": pair.wav,
    }[source]
    states = [
        model.get_state_for_audio_prompt(given, truncate=source == "truncated")
        for model in (pair.theirs, pair.ours)
    ]
    shapes = [
        {(layer, key): x.shape for layer, held in state.items() for key, x in held.items()}
        for state in states
    ]
    assert shapes[0] == shapes[1]
    want = pair.theirs.generate_audio(states[0], TEXT)
    assert snr(want, pair.ours.generate_audio(states[1], TEXT)) > 70
    # And the other's state in each, as a plain dict is one.
    assert snr(want, pair.ours.generate_audio(states[0], TEXT)) > 70
    assert snr(want, pair.theirs.generate_audio(dict(states[1]), TEXT)) > 70


def test_exported_voices_go_both_ways(pair, tmp_path):
    for number, (writer, model) in enumerate(((pocket_tts, pair.theirs), (compat, pair.ours))):
        path = tmp_path / f"{number}.safetensors"
        writer.export_model_state(model.get_state_for_audio_prompt(pair.wav), path)
        want, got = (
            side.generate_audio(side.get_state_for_audio_prompt(path), TEXT)
            for side in (pair.theirs, pair.ours)
        )
        assert snr(want, got) > 70


def test_streams_end_and_stop_alike(pair):
    options = {"max_tokens": 20, "frames_after_eos": 1, "copy_state": True}
    state = pair.theirs.get_state_for_audio_prompt(pair.wav)
    want = pair.theirs.generate_audio(state, TEXT, **options)
    for model in (pair.theirs, pair.ours):
        parts = list(model.generate_audio_stream(state, TEXT, **options))
        assert all(isinstance(x, torch.Tensor) and x.dim() == 1 for x in parts)
        assert snr(want, torch.cat(parts)) > 70
        stop = threading.Event()
        stop.set()
        assert list(model.generate_audio_stream(state, TEXT, stop=stop)) == []


def test_torch_seeds_the_speech(pair):
    state = pair.ours.get_state_for_audio_prompt(pair.wav)
    pair.ours.temp = 0.5
    try:
        spoken = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            spoken.append(pair.ours.generate_audio(state, "Hello."))
    finally:
        pair.ours.temp = 0.0
    assert torch.equal(spoken[0], spoken[1]) and not torch.equal(spoken[0], spoken[2])


def test_there_are_examples():
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("code", EXAMPLES)
def test_documented_examples_run_with_another_import(pair, code, tmp_path, monkeypatch):
    """The default model is a tiny one, and its ready voice comes from a hub on this machine."""
    described = config.parse(pair.files.yaml.read_text(), "english")
    monkeypatch.setattr(config, "get", {"english": described}.__getitem__)
    voice = tmp_path / "alba.safetensors"
    compat.export_model_state(pair.ours.get_state_for_audio_prompt(pair.wav), voice)
    repo, name, revision = hfhub.parse(released.voice_url("english", "alba"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_voice.wav").write_bytes(pair.wav.read_bytes())
    with FakeHub({(repo, revision): {name: voice}}) as hub:
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        names: dict = {}
        exec(code.replace("from pocket_tts import", "from ptts_jax.compat import"), names)
    assert names["audio"].shape[-1] > names.get("tts_model", names.get("model")).sample_rate / 4
    if "output.wav" in code:
        assert soundfile.info(tmp_path / "output.wav").frames == names["audio"].shape[-1]
    assert isinstance(names["audio"], torch.Tensor)
