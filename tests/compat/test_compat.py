"""The original's API and commands over ours, with files made without the original."""

import copy
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ptts_jax import cli, speak
from ptts_jax.compat import TTSModel, command, export_model_state, tensors
from ptts_jax.model import released
from tests.support import tiny_files
from tests.support.mistakes import mistakes


@pytest.fixture(scope="module", autouse=True)
def no_torch():
    """As where torch is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "has_torch", lambda: False)
        yield


@pytest.fixture(scope="module")
def model(files) -> TTSModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTTS_JAX_CACHE", str(files.folder / "cache"))
        return TTSModel.load_model(config=str(files.yaml), temp=0.0)


@pytest.fixture(scope="module")
def state(model):
    return model.get_state_for_audio_prompt(tiny_files.speech(1.5)[None])


def test_audio_acts_like_a_tensor(model, state):
    audio = model.generate_audio(state, "Hello there.")
    assert type(audio.numpy()) is np.ndarray and audio.numpy().dtype == np.float32
    assert audio.dim() == 1 and audio.shape[-1] == audio.numel()
    assert audio.unsqueeze(0).shape == (1, audio.numel())
    assert np.array_equal(audio.unsqueeze(0).squeeze().detach().cpu().numpy(), audio)
    assert audio.squeeze(0).shape == audio.shape  # nothing to take away
    assert float(audio.abs().max()) > float(audio.clamp(-0.01, 0.01).abs().max()) > 0
    assert str(audio.device) == str(model.device) == "cpu"


def test_a_stream_is_the_whole_in_parts(model, state):
    parts = list(model.generate_audio_stream(state, "Hello there. And more of it."))
    whole = model.generate_audio(state, "Hello there. And more of it.")
    assert len(parts) > 1 and np.array_equal(np.concatenate(parts), whole)


def test_a_stop_event_ends_a_stream(model, state):
    stop = threading.Event()
    blocks = model.generate_audio_stream(state, "Hello there. " * 20, stop=stop)
    next(blocks)
    stop.set()
    assert len(list(blocks)) <= 1


def test_settings_of_the_model_count_when_it_speaks(model, state):
    longer = model.generate_audio(state, "Hello there.", frames_after_eos=9)
    model.eos_threshold = -1e9
    try:
        shortest = model.generate_audio(state, "Hello there.", frames_after_eos=0)
    finally:
        model.eos_threshold = model.config.default_eos_threshold
    assert 0 < shortest.numel() < longer.numel()


def test_states_can_be_kept_in_any_way(model, state, tmp_path):
    want = model.generate_audio(state, "Hello there.")
    export_model_state(state, tmp_path / "voice.safetensors")
    changed = {name: dict(layer) for name, layer in state.items()}
    for other in (
        copy.deepcopy(state),
        changed,
        model.get_state_for_audio_prompt(tmp_path / "voice.safetensors"),
    ):
        assert np.array_equal(model.generate_audio(other, "Hello there."), want)


def test_a_state_that_was_changed_is_heard_as_it_is(model, state):
    other = copy.deepcopy(state)
    layer = next(iter(other.values()))
    layer["cache"] = layer["cache"] * 0.5
    assert not np.array_equal(
        model.generate_audio(other, "Hello there."), model.generate_audio(state, "Hello there.")
    )


def test_a_long_prompt_is_cut_if_asked(model, tmp_path):
    rate = model.sample_rate
    soundfile.write(tmp_path / "long.wav", np.tile(tiny_files.speech(2.0), 16), rate)
    lengths = [
        next(iter(model.get_state_for_audio_prompt(source, truncate=cut).values()))["offset"].item()
        for source, cut in (
            (tmp_path / "long.wav", True),
            (str(tmp_path / "long.wav"), False),
        )
    ]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"language": "english", "config": "a.yaml"}, "only one"),
        ({"checkpoint": "a.pt"}, "checkpoint a.pt"),
        ({"language": "klingon"}, "klingon"),
    ],
)
def test_what_cannot_be_loaded_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        TTSModel.load_model(**options)


def test_no_other_device(model):
    assert model.to("cpu") is model
    with pytest.raises(ValueError, match="device cuda"):
        model.to("cuda")


# Commands.


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """The exit code of `ptts-jax ARGUMENTS`, and what it said."""
    monkeypatch.setattr(sys, "argv", ["ptts-jax", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as stopped:
        code = stopped.code
    out = capsys.readouterr()
    if isinstance(code, str):  # the interpreter would print it
        return 1, out.out + out.err + code
    return code or 0, out.out + out.err


@pytest.fixture
def place(tmp_path, monkeypatch, files) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTTS_JAX_CACHE", str(files.folder / "cache"))
    return tmp_path


def test_generate_and_export_voice(place, files, monkeypatch, capsys):
    soundfile.write(place / "me.wav", tiny_files.speech(1.5), 24000)
    model = f"--config={files.yaml}"
    done = run(monkeypatch, capsys, "export-voice", "me.wav", "me.safetensors", "-q", model)
    assert done == (0, "")
    words = ["--text", "Hello.", "--voice", "me.safetensors", "--output-path", "a-b.wav"]
    done = run(monkeypatch, capsys, "generate", *words, "--quiet", model, "--max-tokens=9")
    assert done == (0, "")
    samples, rate = soundfile.read(place / "a-b.wav")
    assert rate == 24000 and len(samples) > 24000 / 4


def test_flags_are_handed_on(monkeypatch):
    asked = []
    monkeypatch.setattr(speak, "main", lambda argv: asked.append(argv[1:]) or 0)
    for words in (
        ["--text=-5 degrees", "--quantize", "--language=french", "-q"],
        ["--text", "-"],
        ["--lsd_decode_steps=4"],
    ):
        assert command.main(["ptts-jax", "generate", *words]) == 0
    assert asked[0][-2:] == ["--", "-5 degrees"]
    assert set(asked[0][:-2]) == {
        "--model=french",
        "--quiet",
        "--steps=1",
        "--max_tokens=50",
        "--output=./tts_output.wav",
        "--int8",
        "--nocheck",
    }
    assert asked[1][-1] == "-" and "--" not in asked[1]
    assert asked[2][-1] == released.default_text(None)
    assert asked[2].index("--steps=1") < asked[2].index("--steps=4")  # the last counts


@mistakes(
    """
    generate --text a --speed 2      | speed
    generate words                   | only flags
    generate --language=a --config=b | only one
    generate --checkpoint=a.pt       | --checkpoint
    generate --device tpu            | --device tpu
    export-voice a.wav               | 1 words where 2
    sing                             | 'sing' is no command
    """
)
def test_mistakes_are_one_line(place, monkeypatch, capsys, words, said):
    code, text = run(monkeypatch, capsys, *words)
    assert code == 1 and text.startswith("error: ") and said in text and text.count("\n") <= 1


def test_help_names_every_command_and_imports_none(monkeypatch, capsys):
    loaded = set(sys.modules)
    code, text = run(monkeypatch, capsys, "--help")
    assert code == 0 and set(sys.modules) == loaded
    for name in cli.COMMANDS:
        assert f"  {name} " in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(place, monkeypatch, capsys, name):
    code, text = run(monkeypatch, capsys, name, "--help")
    assert code == 0 and len(text.splitlines()) > 3
    assert os.listdir(place) == []
