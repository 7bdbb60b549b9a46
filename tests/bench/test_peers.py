"""Other engines: what they can speak, the files they are given, their processes, their limits."""

import importlib.util
import json
import textwrap

import numpy as np
import pytest

import ptts_jax
from ptts_jax.bench import isa, models, peers
from ptts_jax.bench import machine as bench_machine
from ptts_jax.bench.peers import ptts
from ptts_jax.bench.process import BenchError, Engine, Worker
from ptts_jax.model import config
from ptts_jax.store import safetensors
from tests.support import tiny_files

pytestmark = pytest.mark.usefixtures("own_cache")

FAKE = """
import os
import numpy as np

def set_num_threads(count):
    pass

class TTS:
    sample_rate = 24000

    def __init__(self, folder, *, quant, lang, eos_threshold):
        if not os.path.isfile(os.path.join(folder, "config.json")):
            raise RuntimeError("no config\\nand a backtrace")
        self.count = int(os.environ["COUNT"])

    def stream(self, text):
        return iter([np.zeros(self.count, np.float32)] * 2)

    def synth(self, text):
        return np.zeros(self.count, np.float32)
"""


def test_each_has_all_that_a_peer_has():
    names = {name for name in vars(peers.Peer) if not name.startswith("_")} | {"NAME"}
    for name, peer in peers.KNOWN.items():
        assert name == peer.NAME and all(hasattr(peer, each) for each in names)
    assert list(peers.KNOWN) == ["pocket-tts", "ptts", "sherpa-onnx"]


def test_a_model_that_a_peer_does_not_know_is_left_out_with_a_line(subject):
    assert peers.able(["pocket-tts", "ptts"], subject) == (["pocket-tts", "ptts"], [])
    small = models.prepare("2m")
    found, lines = peers.able(["pocket-tts", "ptts"], small)
    assert found == ["pocket-tts"]
    assert lines == ["ptts is left out for 2m: it knows no head of the type pointwise"]


def test_nobody_else_has_the_bundled_model():
    models.check("models", "bundled")
    subject = models.prepare("bundled")
    assert ptts_jax.load(str(subject.yaml)).name == "bundled" and subject.voice.is_file()
    found, lines = peers.able(["pocket-tts", "ptts"], subject)
    assert found == [] and [line.split(":")[0] for line in lines] == [
        "pocket-tts is left out for bundled",
        "ptts is left out for bundled",
    ]


def test_sherpa_onnx_says_why_it_is_not_measured():
    found, (line,) = peers.installed(["sherpa-onnx"])
    assert found == [] and line.startswith("sherpa-onnx is left out: ") and "ONNX" in line


def test_ptts_gets_the_model_in_files_of_its_own(subject):
    made = ptts.options(subject, quantized=True)
    assert made["quant"] == "q8_0" and ptts.options(subject, False)["quant"] == "f32"
    folder = ptts.weights(subject).parent
    assert made["folder"] == str(folder)
    tensors, _ = safetensors.read(folder / "model.safetensors")
    source, _ = safetensors.read(subject.weights)
    gone = source.keys() - tensors.keys()
    assert {name.split(".")[1] for name in gone if name.startswith("mimi")} == {
        "encoder", "encoder_transformer", "downsample",
    }  # fmt: skip
    assert all(np.array_equal(x, source[name]) for name, x in tensors.items())
    voice, _ = safetensors.read(folder / "voices" / "voice.safetensors")
    c = tiny_files.CONFIG
    assert voice["emb"].shape == (models.VOICE_SLOTS, c.flow_lm.transformer.d_model)
    described = json.loads((folder / "config.json").read_text())
    assert described["flow_lm"]["n_bins"] == tiny_files.PIECES
    assert described["mimi"]["ratios"] == [6, 5, 4]
    assert (folder / "tokenizer.json").is_file()


def test_the_english_model_is_described_as_its_config_says():
    described = ptts.describe(config.get("english"))
    lm, codec = described["flow_lm"], described["mimi"]
    assert (lm["d_model"], lm["dim_feedforward"], lm["ldim"]) == (1024, 4096, 32)
    assert (codec["dimension"], codec["quantizer_output_dimension"]) == (512, 512)
    assert codec["transformer_context"] == 250


@pytest.fixture
def fake_ptts(tmp_path, monkeypatch):
    """A package of that name, for processes."""
    (tmp_path / "ptts.py").write_text(textwrap.dedent(FAKE))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_peer_speaks_in_a_process_of_its_own(fake_ptts, subject, tmp_path):
    worker = Worker(Engine("ptts", "f32"), [], {"COUNT": "1200"})
    try:
        worker.ask("load", **ptts.options(subject, False))
        audio = tmp_path / "heard" / "it.wav"
        made = worker.ask("speak", text="Hi.", audio=str(audio))
        assert (made["samples"], made["rate"]) == (2400, 24000) and audio.is_file()
        with pytest.raises(BenchError, match="^ptts f32: RuntimeError: no config and a backtrace$"):
            worker.ask("load", folder="/nowhere", quant="f32")
    finally:
        worker.close()


# Instruction sets.


def test_limits_hold_every_engine():
    assert isa.ours("") == {}
    assert isa.ours("avx512")["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX512"
    for name in isa.NEEDS:
        assert isa.ours(name)["INT8_ISA"] == name
        held = peers.KNOWN["pocket-tts"].limits(name)
        assert len(held) == 4 and "FBGEMM_ENABLE_INSTRUCTIONS" in held
        assert peers.KNOWN["ptts"].limits(name) == {}


def test_a_set_that_is_not_here_cannot_be_asked_for():
    isa.check("isa", ["avx2"], ["avx2", "fma"])
    isa.check("isa", [], [])
    with pytest.raises(ValueError, match="lacks avx512 .it can be held to avx2."):
        isa.check("isa", ["avx512"], ["avx2", "fma"])
    with pytest.raises(ValueError, match="lacks avx2 .it has none of them."):
        isa.check("isa", ["avx2"], [])


@pytest.mark.parametrize(
    ("system", "flags", "said"),
    [
        ("Linux x86_64", ["avx2", "avx512bw"], "has AVX2, AVX512; lacks VNNI, BF16, AMX"),
        ("Linux x86_64", ["avx2", "avx_vnni"], "has AVX2, VNNI; lacks AVX512, BF16, AMX"),
        ("Linux x86_64", ["fma"], "has none of AVX2, AVX512, VNNI, BF16, AMX"),
        ("Linux aarch64", ["asimddp", "i8mm"], "has DOTPROD, I8MM; lacks BF16, SVE"),
        ("Darwin arm64", [], "this system does not say which instruction sets it has"),
    ],
)
def test_a_line_says_what_the_processor_has_and_lacks(system, flags, said):
    made_on = {"cpu": "A", "cores": 2, "flags": flags, "system": system}
    assert bench_machine.processor(made_on) == f"processor: A, 2 cores; {said}"


def test_all_of_them():
    flags = ["avx2", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8"]
    made_on = {"cpu": "A", "cores": 2, "flags": flags, "system": "Linux x86_64"}
    assert bench_machine.processor(made_on).endswith("has AVX2, AVX512, VNNI, BF16, AMX")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found, lines = peers.installed(["pocket-tts", "ptts"])
    assert found == []
    assert "torch and pocket-tts not installed (pip install" in lines[0]
    assert lines[1] == "ptts is left out: not installed (pip install ptts)"
