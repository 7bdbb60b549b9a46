"""A tiny but complete model on disk in the reference's layout: weights, YAML and tokenizer.

Made without torch. It speaks noise at 24 kHz, in utterances that end at different frames.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from convert import flatten, to_reference, unflatten
from ptts_jax.model import config
from ptts_jax.store import weights
from tests.support import tiny, tokens

Params = dict[str, Any]

PIECES = 600  # of the tokenizer

CONFIG = dataclasses.replace(
    tiny.PLAIN,
    flow_lm=dataclasses.replace(
        tiny.PLAIN.flow_lm,
        lookup_table=dataclasses.replace(tiny.PLAIN.flow_lm.lookup_table, n_bins=PIECES),
    ),
    mimi=dataclasses.replace(
        tiny.PLAIN.mimi,
        sample_rate=24000,
        seanet=dataclasses.replace(tiny.PLAIN.mimi.seanet, ratios=(6, 5, 4)),
    ),
)


@dataclass(frozen=True)
class Files:
    folder: Path
    yaml: Path
    weights: Path
    tokenizer: Path


def write(folder: str | Path, c: config.Config = CONFIG, seed: int = 0) -> Files:
    """A whole model in `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(
        folder, folder / "model.yaml", folder / "model.safetensors", folder / "tokenizer.json"
    )
    write_weights(files.weights, params(c, seed))
    tokens.write_tokenizer_json(files.tokenizer, c.flow_lm.lookup_table.n_bins)
    files.yaml.write_text(described(c, files.weights, files.tokenizer))
    return files


def write_weights(path: Path, tree: Params, *, public: bool = False) -> None:
    """The reference's layout; `public`: with zeros for an encoder, as published for everyone."""
    tensors = to_reference(tree)
    encoder = ("mimi.encoder.", "mimi.encoder_transformer.", "mimi.downsample.")
    silent = {name for name in tensors if public and name.startswith(encoder)}
    save_file({name: x * 0 if name in silent else x for name, x in tensors.items()}, path)


def described(c: config.Config, weights: str | Path, tokenizer: str | Path) -> str:
    """The YAML of a config with these files."""
    table = dataclasses.replace(
        c.flow_lm.lookup_table, tokenizer="tokenizers", tokenizer_path=str(tokenizer)
    )
    flow_lm = dataclasses.replace(c.flow_lm, lookup_table=table)
    return config.to_yaml(dataclasses.replace(c, flow_lm=flow_lm, weights_path=str(weights)))


@functools.cache
def params(c: config.Config = CONFIG, seed: int = 0) -> Params:
    """Random parameters of moderate effect, none of them zero; EOS fires now and then."""
    rng = np.random.default_rng(seed)
    tree = {
        path: (mean + spread * rng.standard_normal(shape, np.float32)).astype(np.float32)
        for path, shape in flatten(weights.template(c)).items()
        for mean, spread in [_distribution(path, shape)]
    }
    for path in tree:
        if path.endswith("/freqs"):
            tree[path] = np.exp(-np.log(10_000.0) * np.arange(128, dtype=np.float32) / 128)
    tree["lm/eos/w"] *= 2.0
    tree["lm/eos/b"][:] = c.default_eos_threshold - 2.5
    return unflatten(tree)


def _distribution(path: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation."""
    *_, owner, leaf = path.split("/")
    if leaf in ("scale", "alpha", "std"):
        return 1.0, 0.1
    if leaf in ("b", "bias", "mean", "scale1", "scale2"):
        return 0.0, 0.2
    if leaf in ("table", "bos", "bos_voice", "freqs"):
        return 0.0, 1.0
    fan_in = shape[-1] if len(shape) == 2 else shape[0] * (1 if owner == "upsample" else shape[1])
    return 0.0, (0.1 if owner == "last" and "decoder" in path else 1.0) * fan_in**-0.5


def speech(seconds: float, rate: int = 24000, seed: int = 0) -> np.ndarray:
    """Something voiced: harmonics of a wandering pitch."""
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(110 + 10 * seed + 30 * np.sin(8 * time + seed)) / rate
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 6))).astype(np.float32)
