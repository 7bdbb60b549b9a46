"""The command line with released models, from a hub on this machine that misbehaves on request."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax import bundled, speak
from ptts_jax.model import config
from tests.support import released_files, tiny_files
from tests.support.fakehub import TOKEN, FakeHub, blackhole, closed_url

GATED = "kyutai/pocket-tts"


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> released_files.Content:
    c = released_files.shrunk("english")
    return released_files.write(tmp_path_factory.mktemp("hub"), "english", c, ("alba", "jean"))


@pytest.fixture
def hub(content):
    with FakeHub(content, gated={GATED}) as running:
        yield running


@pytest.fixture
def run(hub, tmp_path, monkeypatch, capfd):
    """The command in this process, with `english` shrunk: (code, standard error)."""
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    monkeypatch.setattr(config, "get", released_files.shrunk)
    monkeypatch.setattr(bundled, "available", lambda: False)  # see test_bundled.py
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)  # is for the process
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def command(*words: str) -> tuple[int, str]:
        code = speak.main(["speak", "--seed=1", *words])
        out, err = capfd.readouterr()
        assert out == ""
        return code, err.replace("converting the weights, once for this model ...\n", "")

    return command


@pytest.fixture
def refuse(run):
    """One line, a failing code, and no output."""

    def refused(*words: str) -> str:
        code, err = run(*words)
        assert code == 1 and re.fullmatch("error: .+\n", err), err
        assert not list(Path().iterdir())
        return err

    return refused


def wave(name: str = "out.wav") -> np.ndarray:
    samples, rate = soundfile.read(name)
    assert rate == 24000 and samples.std() > 0.005
    return samples


def test_public_weights_and_a_ready_voice(run, hub):
    """The gated repository refuses, so the public one serves; the default voice is alba."""
    assert run("Hello.")[0] == 0
    assert [r.status for r in hub.requests if f"/{GATED}/" in r.path] == [401]
    assert hub.served("embeddings/alba.safetensors")
    alba = wave()
    assert run("--voice=alba", "Hello.")[0] == 0
    np.testing.assert_array_equal(wave(), alba)
    assert run("--voice=jean", "Hello.")[0] == 0
    assert wave().tobytes() != alba.tobytes()


def test_public_weights_clone_no_voice(run, refuse, tmp_path):
    recording = tmp_path / "me.wav"
    soundfile.write(recording, tiny_files.speech(1), 24000)
    line = refuse(f"--voice={recording}", "Hello.")
    for part in ("cannot clone", "ready voice", f"huggingface.co/{GATED}", "hf auth login"):
        assert part in line
    assert "cannot clone" in refuse("--voice=https://example.com/me.wav", "Hello.")  # not fetched


def test_who_has_access_clones(run, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    recording = tmp_path / "me.wav"
    soundfile.write(recording, tiny_files.speech(1), 24000)
    code, err = run(f"--voice={recording}", "--export_voice=me.safetensors", "Hello.")
    assert code == 0, err
    cloned = wave()
    assert {r.status for r in hub.requests if f"/{GATED}/" in r.path} <= {200, 302}
    assert run("--voice=me.safetensors", "Hello.")[0] == 0
    np.testing.assert_array_equal(wave(), cloned)


def test_the_second_run_needs_no_network(run, hub, monkeypatch):
    """Nor does it ask for anything: all that it needs has a pinned revision."""
    assert run("--output=first.wav", "Hello.")[0] == 0
    asked = len(hub.requests)
    for endpoint, offline in ((hub.url, ""), (closed_url(), ""), (hub.url, "1")):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        code, err = run("--quiet", "Hello.")
        assert (code, err) == (0, "")
        np.testing.assert_array_equal(wave(), wave("first.wav"))
    assert len(hub.requests) == asked


@pytest.mark.parametrize("part", ["tokenizer", "model.safetensors", "embeddings/alba"])
@pytest.mark.parametrize(
    "fault, problem",
    [
        ("404", "no such file there; check the path"),
        ("500", "server error 500 from 127.0.0.1"),
        ("403", "refused access|access is restricted"),
        ("hang", "timed out waiting for 127.0.0.1"),
        ("cut", "connection cut"),
        ("stall", "timed out waiting for 127.0.0.1"),
    ],
)
def test_a_hub_in_trouble(fault, problem, part, refuse, run, hub):
    """One line that names the file, and as soon as the hub is well again, speech."""
    if fault in ("cut", "stall"):  # in the middle of the file, and then nothing comes any more
        hub.fault(fault, part, times=1)
        hub.fault(fault, part, after=0)
    else:
        hub.fault(fault, part)
    line = refuse("Hello.")
    assert re.search(problem, line) and part in line and "hf://kyutai/" in line
    hub.clear()
    code, err = run("Hello.")
    assert code == 0, err
    wave()


def test_a_cut_that_passes(run, hub):
    """Is not even noticed: the rest is fetched."""
    hub.fault("cut", "model.safetensors", times=1)
    assert run("Hello.")[0] == 0
    wave()
    assert any(r.range for r in hub.served("model.safetensors"))


def test_names_that_are_none(refuse, hub):
    assert "unknown voice 'jan'; did you mean jean" in refuse("--voice=jan", "Hello.")
    asked = len(hub.requests)
    line = refuse("--model=french_48l", "Hello.")
    assert "unknown model 'french_48l'; did you mean french_24l" in line
    assert len(hub.requests) == asked


@pytest.mark.parametrize("network", ["refused", "swallowed", "offline"])
def test_a_first_run_without_a_network(network, refuse, monkeypatch):
    """Given up at the first file, and said in one line."""
    with blackhole() as dark:
        url = dark if network == "swallowed" else closed_url()
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1" if network == "offline" else "")
        line = refuse("Hello.")
    said = {"refused": "no connection", "swallowed": "timed out", "offline": "HF_HUB_OFFLINE"}
    assert "cannot fetch hf://kyutai/" in line and said[network] in line


def test_a_disk_that_is_full_or_closed(refuse, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    line = refuse("Hello.")
    assert "cannot write" in line and "HF_HOME" in line


def test_a_model_by_address(run, hub, content):
    """A YAML file of the hub that names files of the hub, and one on any server."""
    described = config.to_yaml(released_files.shrunk("english")).encode()
    hub.files["someone/voices", "main"] = {"deep/model.yaml": described}
    hub.plain["/model.yaml"] = described
    for address in ("hf://someone/voices/deep/model.yaml@main", f"{hub.url}/model.yaml"):
        voice = next(p for files in content.values() for n, p in files.items() if "jean" in n)
        code, err = run(f"--model={address}", f"--voice={voice}", "Hello.")
        assert code == 0, err
        wave()
        Path("out.wav").unlink()


def test_a_voice_by_address(run, hub, content, monkeypatch):
    """States and recordings, of the hub and of any server."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    soundfile.write("../me.wav", tiny_files.speech(1), 24000)
    state = next(p for files in content.values() for n, p in files.items() if "jean" in n)
    for name, path in {"jean.safetensors": state, "me one.wav": Path("../me.wav")}.items():
        hub.plain[f"/{name}"] = path.read_bytes()
        hub.files["someone/voices", "main"] = {name: path.read_bytes()}
        made = []
        for address in (
            str(path),
            f"hf://someone/voices/{name}",
            f"{hub.url}/{name.replace(' ', '%20')}?download=1",
        ):
            code, err = run(f"--voice={address}", "Hello.")
            assert code == 0, err
            made.append(wave().tobytes())
        assert len(set(made)) == 1


NAME = "english_2m_2026-10"


def test_a_released_model_in_full_size(tmp_path):
    """The smallest one, as a stranger starts it; the second time without a network."""
    files = released_files.write(tmp_path / "hub", NAME, config.get(NAME), ("alba",))
    with FakeHub(files, gated={GATED}) as hub:
        environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": os.getcwd()}

        def start(*words: str, **more: str) -> subprocess.CompletedProcess:
            return subprocess.run(
                [sys.executable, "-m", "ptts_jax.speak", f"--model={NAME}", "--seed=1", *words],
                cwd=tmp_path,
                env=os.environ | environment | more,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=400,
            )

        first = start("Good morning.", "--output=first.wav")
        assert first.returncode == 0 and first.stdout == "", first.stderr
        assert re.fullmatch(
            r"converting the weights, .*\n(compiling.*\n)*.* -> first.wav\n", first.stderr
        )
        asked = len(hub.requests)
    second = start("Good morning.", "--output=second.wav", "--quiet", HF_ENDPOINT=closed_url())
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(hub.requests) == asked
    samples = wave(tmp_path / "first.wav")
    np.testing.assert_array_equal(wave(tmp_path / "second.wav"), samples)
