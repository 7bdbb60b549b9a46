"""Converted models: one file with the parameters, the config and the tokenizer of a model.

Such a file needs nothing beside it. `python -m convert` and `python -m int8` write them.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from convert import flatten, unflatten
from int8 import QTensor, dequantized
from int8.store import pack, unpack
from ptts_jax.model.config import Config, parse, to_yaml
from ptts_jax.model.ear import Ear
from ptts_jax.model.pytree import Params
from ptts_jax.store import bfloat16, quantization, safetensors, weights
from ptts_jax.store.paths import cache_dir, remember
from ptts_jax.store.quantization import Int8
from ptts_jax.store.safetensors import FileError

FORMAT = "1"  # another layout of the parameters is another number
FLOAT16 = np.dtype(np.float16)
EAR = "ear/"


@dataclass(frozen=True)
class Converted:
    """All that a converted file holds."""

    name: str
    config: Config
    params: Params
    tokenizer: tuple[str, bytes]  # kind and payload, as text.Tokenizer.serialized
    voice_cloning: bool
    ear: Ear | None = None  # of its codec's latents
    heads: str | None = None  # which follow the text, as engine.heads notes them


def of(model: Any, **changes: Any) -> Converted:
    """A loaded model (ptts_jax.TTS), with other values for some fields."""
    serialized = model.tokenizer.serialized
    fields = (model.name, model.config, model.params, serialized, model.voice_cloning)
    return replace(Converted(*fields, model.ear, model.noted_heads), **changes)


def save(path: str | Path, model: Converted, *, compact: bool = False) -> None:
    """Write one file that needs nothing beside it.

    `compact` rounds the attention and FFN weights to 8 bits, a scale per output channel, and other
    weights to 16: a fraction of the size, read back as float32. int8 finds those 8 bits again. A
    vocoder's weights are 8-bit integers in the file and stay so.
    """
    params = model.params
    _check_shapes(params, model.config, path)
    if compact:
        params = quantization.rounded(params)
    params = bfloat16.narrowed(params)
    stored = _in_float16 if compact else lambda leaf: leaf
    tensors, note = pack({f"params/{path}": stored(leaf) for path, leaf in flatten(params).items()})
    if model.ear:
        tree = {**model.ear.params, "labels": model.ear.labels}
        tensors |= {EAR + path: stored(leaf) for path, leaf in flatten(tree).items()}
    kind, payload = model.tokenizer
    described, structure = to_yaml(model.config), _structure(tensors, note)
    metadata = {
        "ptts_jax": FORMAT,
        "name": model.name,
        "config": described,
        "tokenizer": kind,
        "voice_cloning": json.dumps(model.voice_cloning),
        "int8": note,
        "compact": json.dumps(compact),
        "structure": structure,
        "fits": _digest(structure, described),
    }
    if model.heads:
        metadata["heads"] = model.heads
    safetensors.write(path, {**tensors, "tokenizer": np.frombuffer(payload, np.uint8)}, metadata)


def load(
    path: str | Path,
    *,
    int8: Int8 | None = None,
    quiet: bool = True,
    device: jax.Device | None = None,
) -> Converted:
    """Read a file of `save`; `int8` quantises what of it is not yet so."""
    tensors, metadata = safetensors.read(path)
    if "ptts_jax" not in metadata:
        raise FileError(
            f"{path}: not a converted model; make one with `python -m convert`, or give a YAML file"
        )
    if metadata["ptts_jax"] != FORMAT:
        raise FileError(
            f"{path}: written in format {metadata['ptts_jax']}, this version reads {FORMAT}; "
            "convert the model again"
        )
    payload = tensors.pop("tokenizer", np.zeros(0, np.uint8)).tobytes()
    note = metadata.get("int8", "{}")  # names the quantised weights
    try:
        flat = unpack(tensors, note)
    except ValueError as error:
        raise FileError(f"{path}: {error}; write it again with `python -m int8`") from None
    missing = {"name", "config", "tokenizer", "voice_cloning", "structure"} - metadata.keys()
    if missing or not payload or metadata["structure"] != _structure(tensors, note):
        raise FileError(f"{path}: parts of the model are missing or changed; convert it again")
    heard = {path.removeprefix(EAR): flat.pop(path) for path in [*flat] if path.startswith(EAR)}
    params = unflatten({path.removeprefix("params/"): leaf for path, leaf in flat.items()})
    config = parse(metadata["config"], str(path))
    fits = _digest(metadata["structure"], metadata["config"])
    if metadata.get("fits") != fits:  # a file of before this was noted
        checked = cache_dir() / "checked" / fits
        if not checked.is_file():
            _check_shapes(params, config, path)
            remember(checked, "")
    if metadata.get("compact") == "true":
        kept = {
            k: x if quantization.of_vocoder(k) else dequantized(x)
            for k, x in flatten(params).items()
        }
        params = unflatten(kept)
    params = bfloat16.widened(params, FLOAT16)
    if int8 is not None:
        params = weights.quantized(params, int8, str(path), quiet)
    return Converted(
        name=metadata["name"],
        config=config,
        params=bfloat16.placed(params, device),
        tokenizer=(metadata["tokenizer"], payload),
        voice_cloning=metadata["voice_cloning"] == "true",
        ear=_ear(heard, config, path) if heard else None,
        heads=metadata.get("heads"),
    )


def _check_shapes(params: Params, config: Config, path: str | Path) -> None:
    """Refuse parameters that are not those of such a model, with or without an encoder."""
    needed, given = flatten(weights.template(config)), flatten(params)
    encoder = "codec/encoder/"
    if not any(name.startswith(encoder) for name in given):
        needed = {name: shape for name, shape in needed.items() if not name.startswith(encoder)}
    problems = [f"{name} is missing" for name in needed.keys() - given.keys()]
    problems += [f"{name} is not of this model" for name in given.keys() - needed.keys()]
    for name in needed.keys() & given.keys():
        shape, leaf = needed[name], given[name]
        shape = quantization.matrix_shape(shape) if _is_quantized(leaf) else shape
        if tuple(leaf.shape) != tuple(shape):
            problems.append(f"{name} has shape {list(leaf.shape)}, not {list(shape)}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        words = "; ".join(sorted(problems)[:3]) + more
        raise FileError(f"{path}: does not fit its config: {words}; convert the model again")


def _ear(flat: dict[str, Any], config: Config, path: str | Path) -> Ear:
    labels = flat.pop("labels", np.zeros(0, np.int32))
    ear = Ear(bfloat16.widened(unflatten(flat), FLOAT16), labels)
    if not ear.fits(config.mimi.latent_dim, config.flow_lm.lookup_table.n_bins):
        raise FileError(f"{path}: its ear does not fit its model; export it again")
    return ear


def _in_float16(leaf: Any) -> Any:
    """A float32 leaf in 16 bits, if none of its values is too large for them."""
    if isinstance(leaf, QTensor) or leaf.dtype != np.float32:
        return leaf
    with np.errstate(over="ignore"):
        small = np.asarray(leaf).astype(FLOAT16)
    return small if np.isfinite(small).all() else leaf


def _is_quantized(leaf: Any) -> bool:
    return isinstance(leaf, QTensor)


def _structure(tensors: dict[str, np.ndarray], note: str) -> str:
    """Names, types and shapes, as one short text."""
    rows = [f"{name} {x.dtype} {x.shape}" for name, x in sorted(tensors.items())]
    return _digest(*rows, *([note] if note != "{}" else []))


def _digest(*rows: str) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:32]
