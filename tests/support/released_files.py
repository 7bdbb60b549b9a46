"""What the hub holds of a released model, with random weights: for a FakeHub."""

import dataclasses
from pathlib import Path

import numpy as np

from ptts_jax.engine.voices import Voice
from ptts_jax.model import config, released
from ptts_jax.store.hfhub import parse
from tests.support import tiny_files, tokens

Content = dict[tuple[str, str], dict[str, bytes | Path]]


def shrunk(name: str) -> config.Config:
    """A tiny model that is found where the released one is."""
    real = config.build(released.describe(name), name)  # tests put this in the place of `get`
    table = dataclasses.replace(
        real.flow_lm.lookup_table, dim=tiny_files.CONFIG.flow_lm.lookup_table.dim, n_bins=600
    )
    return dataclasses.replace(
        real,
        flow_lm=dataclasses.replace(tiny_files.CONFIG.flow_lm, lookup_table=table),
        mimi=tiny_files.CONFIG.mimi,
    )


def write(folder: Path, name: str, c: config.Config, voices: tuple[str, ...]) -> Content:
    """Files of all repositories: gated and public weights, tokenizer, voices."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = tiny_files.params(c)
    table = c.flow_lm.lookup_table
    kind = "json" if parse(table.tokenizer_path)[1].endswith(".json") else "model"
    writer = {"json": tokens.write_tokenizer_json, "model": tokens.write_sentencepiece}[kind]
    tiny_files.write_weights(folder / "gated.safetensors", tree)
    tiny_files.write_weights(folder / "public.safetensors", tree, public=True)
    sources = {
        c.weights_path: folder / "gated.safetensors",
        c.weights_path_without_voice_cloning: folder / "public.safetensors",
        table.tokenizer_path: writer(folder / f"tokenizer.{kind}", table.n_bins),
    }
    for number, voice in enumerate(voices):
        path = folder / f"{voice}.safetensors"
        random_voice(c, number).save(path)
        sources[released.voice_url(name, voice)] = path
    content: Content = {}
    for source, path in sources.items():
        repo, inside, revision = parse(source)
        content.setdefault((repo, revision), {})[inside] = path
    return content


def random_voice(c: config.Config, seed: int, length: int = 20) -> Voice:
    t = c.flow_lm.transformer
    rng = np.random.default_rng(seed)
    shape = (t.num_layers, t.kv_heads, length, t.head_dim)
    k, v = (tuple(rng.standard_normal(shape, np.float32)) for _ in range(2))
    return Voice(k, v)
