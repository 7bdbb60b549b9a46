"""The reference with random weights, on disk and loadable by itself: the oracle of the live tests.

`build("english", seed, folder)` writes a YAML file, the reference's own state dict as safetensors
and a tokenizer, all local. Weights are random but sensible: activations stay near one through all
layers, audio has a moderate level and depends on the latents, utterances end at varied frames.
Beside it: architectures.py (the configs), oracle_files.py (raw checkpoints, voice states).
"""

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import increment_steps, init_states
from safetensors.torch import save_file
from torch import Tensor

from tests.support import tokens
from tests.support.architectures import FULL, TINY, Tree, local

TEXTS = (
    "Hello world.",
    "The quick brown fox jumps over the lazy dog.",
    "Please listen to the river, and thank you for the music.",
    "What a fine morning it is today, they said, and went down to the water.",
)


@dataclass(frozen=True)
class Oracle:
    """Where the files are; `load` gives the reference's model, made from them by itself."""

    folder: Path
    yaml: Path
    weights: Path
    tokenizer: Path

    def load(self, **options: Any) -> TTSModel:
        return TTSModel.load_model(config=str(self.yaml), **options)


def build(
    config: str | Tree,
    seed: int,
    folder: str | Path,
    *,
    size: str = "tiny",
    tokenizer: str = "model",
) -> Oracle:
    """Write a reference model with random weights: `config` is a name of TINY (or, with
    size="full", of FULL), YAML text or its nested dict; `tokenizer` is "model" or "json"."""
    model, config, made = _skeleton(config, folder, size, tokenizer)
    randomize(model, seed)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, made.weights)
    config["weights_path"] = str(made.weights)
    made.yaml.write_text(yaml.safe_dump(config), encoding="utf-8")
    return made


@torch.no_grad()
def noise(
    config: str | Tree, seed: int, folder: str | Path, *, size: str
) -> tuple[TTSModel, Oracle]:
    """A model whose every number is random, for tests that only move numbers: quick to make.
    Its weights are not written."""
    model, _, made = _skeleton(config, folder, size, "model")
    dice = torch.Generator().manual_seed(seed)
    for x in model.state_dict().values():
        x.uniform_(generator=dice)
    return model, made


def _skeleton(
    config: str | Tree, folder: str | Path, size: str, tokenizer: str
) -> tuple[TTSModel, Tree, Oracle]:
    """The reference's model as it comes, and a YAML file and a tokenizer but no weights."""
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(config, str):
        table = {"tiny": TINY, "full": FULL}[size]
        config = table[config]() if config in table else local(yaml.safe_load(config))
    config = copy.deepcopy(config)
    table = config["flow_lm"]["lookup_table"]
    if tokenizer == "model":
        vocabulary = tokens.write_sentencepiece(folder / "tokenizer.model", table["n_bins"])
    else:
        vocabulary = tokens.write_tokenizer_json(folder / "tokenizer.json", table["n_bins"])
    table["tokenizer"] = {"model": "sentencepiece", "json": "tokenizers"}[tokenizer]
    table["tokenizer_path"] = str(vocabulary)
    config["weights_path"] = None
    made = Oracle(folder, folder / "model.yaml", folder / "model.safetensors", vocabulary)
    made.yaml.write_text(yaml.safe_dump(config), encoding="utf-8")
    return made.load(), config, made


@torch.no_grad()
def randomize(model: TTSModel, seed: int) -> None:
    """Sensible random weights, in place."""
    dice = torch.Generator().manual_seed(seed)
    layers = {
        "flow_lm": len(model.flow_lm.transformer.layers),
        "mimi": len(model.mimi.decoder_transformer.transformer.layers),
    }
    for name, x in model.state_dict().items():
        if not name.endswith(".freqs"):
            center, spread = _distribution(name, x, layers[name.split(".")[0]])
            x.copy_(center + spread * torch.randn(x.shape, generator=dice))
    _calibrate(model, dice)


def _distribution(name: str, x: Tensor, layers: int) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's entries."""
    leaf = name.rsplit(".", 1)[-1]
    if name.endswith(("emb_std", "alpha")) or (leaf == "weight" and x.ndim == 1):
        return 1.0, 0.2
    if leaf == "scale":
        return 0.3, 0.1
    if leaf in ("emb_mean", "bias"):
        return 0.0, 0.3 if "adaLN" in name or leaf == "emb_mean" else 0.1
    if leaf in ("bos_emb", "bos_before_voice") or "embed.weight" in name:
        return 0.0, 1.0
    if "convtr" in name:  # every output sees two taps of every input
        return 0.0, 1.2 / math.sqrt(2 * (1 if "upsample" in name else x.shape[0]))
    fan_in = math.prod(x.shape[1:])
    gain = 1.0
    if "flow_lm" in name:
        if name.endswith(("out_proj.weight", "linear2.weight")):
            gain = 1.5 / math.sqrt(layers)
        elif name.endswith("in_proj.weight"):
            gain = 1.4  # attention that picks, not only averages
        elif name.endswith("input_linear.weight"):
            gain = 0.5  # what is fed back must not amplify itself
    elif ".block.3." in name:
        gain = 0.5
    elif x.ndim == 3:
        gain = 1.2
    return 0.0, gain / math.sqrt(fan_in)


def _calibrate(model: TTSModel, dice: torch.Generator) -> None:
    """Set the levels that depend on everything before them, by measuring."""
    lm, mimi = model.flow_lm, model.mimi
    prompts = [lm.conditioner.prepare(text) for text in TEXTS]
    latents = np.concatenate([rollout(model, p, 8)[0] for p in prompts[:3]])
    # Latents that vary around a fixed point, not too much: fed back, they must not amplify what
    # floating point makes of them, or no two programs would agree for long.
    final = lm.flow_net.final_layer.linear
    final.weight.mul_(0.5 / float(latents.std(axis=0).mean()))
    final.bias.copy_(torch.randn(final.bias.shape, generator=dice))
    runs = [rollout(model, p, 30) for p in prompts]
    _spread_eos(model, [logits for _, logits in runs])

    wave = decode(model, runs[0][0])
    _scale(mimi.decoder.model[-1].conv, 0.1 / wave.std())
    noise = 0.1 * torch.randn((1, 1, 8 * mimi.frame_size), generator=dice)
    _scale(mimi.downsample.conv.conv, 1.0 / float(mimi.encode_to_latent(noise).std()))


def _scale(layer: torch.nn.Module, factor: float) -> None:
    layer.weight.mul_(factor)
    if layer.bias is not None:
        layer.bias.mul_(factor)


def _spread_eos(model: TTSModel, runs: Sequence[np.ndarray]) -> None:
    """Place the threshold where the runs end at different frames, and close to no logit."""
    head = model.flow_lm.out_eos
    first = model._MIN_FRAMES_BEFORE_EOS
    values = np.sort(np.concatenate([run[first:] for run in runs]))
    factor = 3.0 / values.std()
    high = np.arange(len(values)) > len(values) // 2
    clear = high[1:] & (np.diff(values) * factor > 0.01)
    levels = (values[1:] + values[:-1])[clear] / 2

    def variety(level: float) -> tuple[int, float]:
        ends = [int(np.argmax(run[first:] > level)) for run in runs if (run[first:] > level).any()]
        return len({end for end in ends if end > 2}), float(np.std(ends))

    best = max(levels, key=variety)
    head.bias.add_(-float(best)).mul_(factor).add_(model.eos_threshold)
    head.weight.mul_(factor)


# Running the reference piece by piece.


@torch.no_grad()
def rollout(
    model: TTSModel,
    prompt: Tensor,
    frames: int,
    *,
    voice: Mapping[str, Any] | None = None,
    noise: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Latents [N, D] and EOS logits [N] after the token ids `prompt` [1, T], EOS ignored.

    `noise` [N, D] is what the head starts from (already scaled); without it there is none.
    """
    state = copy.deepcopy(voice) if voice else init_states(model.flow_lm, 1, 0)
    start = model._flow_lm_current_end(state)
    model._expand_kv_cache(state, start + prompt.shape[1] + frames)
    model._run_flow_lm_and_increment_step(model_state=state, text_tokens=prompt)
    rows = torch.zeros(frames, model.flow_lm.ldim) if noise is None else torch.tensor(noise)
    logits: list[float] = []
    hook = model.flow_lm.out_eos.register_forward_hook(lambda m, x, y: logits.append(y.item()))
    latents, latent = [], torch.full((1, 1, model.flow_lm.ldim), torch.nan)
    with hook:
        for row in rows:
            with _fixed_noise(row):
                latent, _ = model._run_flow_lm_and_increment_step(
                    model_state=state, backbone_input_latents=latent
                )
            latents.append(latent[0, 0].numpy().copy())
    return np.array(latents), np.array(logits, np.float32)


@contextlib.contextmanager
def _fixed_noise(row: Tensor) -> Iterator[None]:
    def fill(x: Tensor, **_: Any) -> Tensor:
        return x.copy_(row)

    with mock.patch("torch.nn.init.normal_", fill), mock.patch("torch.nn.init.trunc_normal_", fill):
        yield


@torch.no_grad()
def decode(model: TTSModel, latents: np.ndarray, frames_per_call: int = 0) -> np.ndarray:
    """Normalised latents [N, D] to samples [N * frame], in one call or in blocks."""
    x = torch.tensor(latents)[None] * model.flow_lm.emb_std + model.flow_lm.emb_mean
    steps = int(model.mimi.encoder_frame_rate / model.mimi.frame_rate)
    state = init_states(model.mimi, 1, x.shape[1] * steps)
    waves = []
    for block in x.split(frames_per_call or x.shape[1], dim=1):
        waves.append(model.mimi.decode_from_latent(block, state)[0, 0].numpy())
        increment_steps(model.mimi, state, increment=block.shape[1] * steps)
    return np.concatenate(waves)
