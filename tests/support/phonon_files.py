"""A tiny Phonon checkpoint on disk, made of random weights, and a writer of GGUF files."""

import dataclasses
import json
import struct
from pathlib import Path

import numpy as np

from convert import to_reference
from ptts_jax.bench.peers import ptts
from ptts_jax.model import config
from ptts_jax.store import safetensors
from tests.support import tiny_files, tokens

# As their checkpoints are: voices as wide as the codec's inside, and no token before a voice.
CONFIG = dataclasses.replace(
    tiny_files.CONFIG,
    flow_lm=dataclasses.replace(tiny_files.CONFIG.flow_lm, insert_bos_before_voice=False),
    mimi=dataclasses.replace(
        tiny_files.CONFIG.mimi, inner_dim=tiny_files.CONFIG.mimi.seanet.dimension
    ),
)
_FUSER: dict[str, list[str]] = {"sum": [], "streaming_sum": [], "prepend": [], "cross": []}
_CONDITIONS = "flow_lm.condition_provider.conditioners."
_THEIRS = (
    ("flow_lm.speaker_proj_weight", f"{_CONDITIONS}speaker_wavs.output_proj.weight"),
    ("flow_lm.conditioner.", f"{_CONDITIONS}transcript_in_segment."),
    ("flow_lm.transformer.", "flow_lm.backbone."),
    ("flow_lm.flow_net.", "flow_lm.flow."),
)


def prompt() -> np.ndarray:
    """The embeddings of a voice."""
    shape = (40, CONFIG.flow_lm.transformer.d_model)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


CONDITIONERS = [
    {"name": "pace", "type": "continuous", "continuous": {"dim": 8, "scale_factor": 2.0}},
    {
        "name": "mood",
        "type": "lut",
        "lut": {
            "n_bins": 3,
            "dim": 8,
            "possible_values": ["0.0", "glad", "sad"],
            "tokenizer": "noop",
        },
    },
]


def condition(name: str) -> dict[str, np.ndarray]:
    """The weights of one of these conditioners."""
    rng = np.random.default_rng(len(CONDITIONERS) + (name == "pace"))
    weights = {"output_proj.weight": 0.3 * rng.standard_normal((32, 8), np.float32)}
    if name == "mood":
        weights["embed.weight"] = rng.standard_normal((4, 8), np.float32)
    return weights


def write(
    folder: Path,
    c: config.Config = CONFIG,
    *,
    quantized: bool = False,
    conditioned: bool = False,
    **changes,
) -> Path:
    """A checkpoint: float weights under the names of training, or q8 under today's without an
    encoder. `changes` are of its config.json."""
    (folder / "voices").mkdir(parents=True)
    tensors = to_reference(tiny_files.params(c))
    if conditioned:
        names = [one["name"] for one in CONDITIONERS]
        found = {f"{_CONDITIONS}{n}.{k}": x for n in names for k, x in condition(n).items()}
        tensors |= found
        changes |= {"conditioners": CONDITIONERS, "fuser": _FUSER | {"sum": names}}
    if quantized:
        unheard = ("mimi.encoder", "mimi.downsample")
        spoken = {name: x for name, x in tensors.items() if not name.startswith(unheard)}
        write_gguf(folder / "model.q8.gguf", spoken)
    else:
        safetensors.write(folder / "model.safetensors", {_theirs(n): x for n, x in tensors.items()})
    tokens.write_tokenizer_json(folder / "tokenizer.json", c.flow_lm.lookup_table.n_bins)
    safetensors.write(folder / "voices" / "anna.safetensors", {"emb": prompt()})
    (folder / "config.json").write_text(json.dumps(ptts.describe(c) | changes))
    return folder


def _theirs(name: str) -> str:
    for ours, theirs in _THEIRS:
        name = name.replace(ours, theirs)
    return name


def is_quantized(name: str) -> bool:
    layers = name.startswith("flow_lm.transformer.layers.")
    return layers and ("linear" in name or "_proj." in name)


def quantize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and integers of blocks of 32."""
    blocks = x.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1) / 127).astype(np.float16)
    return scale, np.rint(blocks / scale.astype(np.float32)[:, None]).astype(np.int8)


def write_gguf(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Version 3: large products in Q8_0, everything else as floats of 32 bits."""
    header, body = [], b""
    for name, x in tensors.items():
        kind, data = 0, x.astype("<f4").tobytes()
        if is_quantized(name):
            scale, values = quantize(x)
            kind, data = 8, np.rec.fromarrays([scale, values], dtype="<f2,32i1").tobytes()
        dims = x.shape[::-1]
        header.append(
            _text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(body))
        )
        body += data + bytes(-len(data) % 32)
    metadata = _text("general.name") + struct.pack("<I", 8) + _text("tiny")
    metadata += _text("list") + struct.pack("<IIQ2H", 9, 2, 2, 1, 2)
    start = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 2) + metadata + b"".join(header)
    path.write_bytes(start + bytes(-len(start) % 32) + body)


def _text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()
