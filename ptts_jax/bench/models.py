"""What the benchmark speaks with: models on disk that both engines load, a voice each, fixed texts.

Weights that are not at hand are drawn at random and kept in the cache, in the reference's own
layout and, as the released files are, in bfloat16: speed does not depend on their values. Downloads
nothing and knows nothing of measuring.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert import flatten, to_reference, unflatten
from ptts_jax import bundled
from ptts_jax.bench import results, tokens
from ptts_jax.engine import voices
from ptts_jax.messages import say
from ptts_jax.model import config, released
from ptts_jax.model.config import Config
from ptts_jax.store import hub, safetensors, weights
from ptts_jax.store.bfloat16 import BFLOAT16
from ptts_jax.store.paths import atomic_write, cache_dir

RECIPE = "2"  # of everything random here; another recipe is another folder
VOICE_SLOTS = 126  # ten seconds of a prompt and what stands before it

SHORT_NAMES = {
    "18m": "english_18m_2026-10",
    "7m": "english_7m_2026-10",
    "2m": "english_2m_2026-10",
    "24l": "english_2026-09_24l",
}

LONG = (
    "The first train of the morning left the city while the streets were still dark and quiet, "
    "and nobody on the platform said a word until the doors had closed.",
    "Along the river the lamps went out one after another, as if someone were walking slowly "
    "from bridge to bridge with a long pole and a very good memory.",
    "By the time the sun came over the hills, the fields on both sides of the line were white "
    "with frost, and a few horses stood close together beside a wooden fence.",
    "An old man across the aisle opened his newspaper, looked at the weather for the week, and "
    "folded it again with the air of a person who has been told this before.",
    "At the third station a group of children got on with their teacher, who counted them twice, "
    "smiled at the other passengers, and began to read a story out loud.",
    "It was about a boat that wanted to see the mountains, and about the many people who had "
    "explained to it, kindly and at great length, why that could never be done.",
    "The story was not finished when the train came to the coast, so the teacher closed the book "
    "on her finger and promised to go on with it when they all sat on the beach.",
    "For the rest of the journey the carriage was almost silent again, except for the wheels, "
    "the wind at the windows, and one small voice asking what the boat did next.",
)
_SENTENCE = (
    "A small model on a plain laptop can speak this whole sentence aloud before you have finished "
    "coffee."
)
PROMPTS = {
    "short": "Hello there, it is good to hear you.",
    "100-character": _SENTENCE,
    "long": " ".join(LONG),
}
QUICK_PROMPTS = PROMPTS | {"long": " ".join(LONG[:2])}


@dataclass(frozen=True)
class Subject:
    """A model as both engines find it on disk."""

    name: str
    yaml: Path  # or a model's name: what `ptts_jax.load` takes
    voice: Path
    weights: Path
    random: bool
    ours: bool = False  # no other engine has such a model

    @property
    def about(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"model": self.name, "random_weights": self.random}


def full_name(name: str) -> str:
    """The released model behind a short name; any other name is its own."""
    return SHORT_NAMES.get(name, name)


def check(flag: str, name: str) -> None:
    """Refuse what `prepare` could not make, before any work."""
    if name == bundled.NAME and bundled.available():
        return
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise ValueError(f"--{flag}: {name} is not a file")
    else:
        try:
            released.check_model(full_name(name))
        except ValueError as error:
            known = ", ".join(("english", *SHORT_NAMES, bundled.NAME))
            raise ValueError(f"--{flag}: {error} (or {known}, or a .yaml file)") from None


def prepare(name: str) -> Subject:
    """The files of a model: a released one (its weights, or random ones), a YAML file's, or the
    bundled one."""
    if name == bundled.NAME:
        voice, file = bundled.voice(bundled.DEFAULT_VOICE), bundled.model()
        return Subject(name, Path(name), voice, file, random=False, ours=True)
    if Path(name).suffix in (".yaml", ".yml"):
        c = config.parse(Path(name).read_text(encoding="utf-8"), name)
        found = _at_hand([c.weights_path, c.weights_path_without_voice_cloning])
        if found is None:
            raise ValueError(f"{name}: weights_path is not at hand; get the file first")
        folder = _folder(Path(name).stem, c)
        voice = _random_voice(folder / "voice.safetensors", c)
        return Subject(Path(name).stem, Path(name), voice, found, random=False)
    c = config.get(full_name(name))
    folder = _folder(name, c)
    found = _at_hand([c.weights_path, c.weights_path_without_voice_cloning])
    tokenizer = hub.cached(c.flow_lm.lookup_table.tokenizer_path)
    random = found is None or tokenizer is None
    if random:
        found = _random_weights(folder / "model.safetensors", name, c)
        tokenizer = _tokenizer(folder, c)
        voice = None
    else:
        voice = hub.cached(released.voice_url(full_name(name), "alba"))
    voice = voice or _random_voice(folder / "voice.safetensors", c)
    local = _localized(c, found, tokenizer)
    with atomic_write(folder / "model.yaml") as beside:
        beside.write_text(config.to_yaml(local), encoding="utf-8")
    return Subject(name, folder / "model.yaml", voice, found, random)


def begun(
    kind: str, options: Any, arguments: Sequence[str]
) -> tuple[Path, Subject, dict[str, Any]]:
    """The folder of a measurement's results, its model, and what they say of both."""
    check("model", options.model)
    out = results.folder("output", options.output)
    subject = prepare(options.model)
    return out, subject, results.about(f"ptts_jax.bench {kind}", arguments) | subject.about


def _at_hand(sources: list[str | None]) -> Path | None:
    found = (hub.cached(source) for source in sources if source is not None)
    return next((path for path in found if path is not None), None)


def _folder(name: str, c: Config) -> Path:
    key = hashlib.sha256(repr((RECIPE, c)).encode()).hexdigest()[:12]
    folder = cache_dir() / "bench" / f"{name}-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{folder}: cannot be made ({error.strerror})"
        raise ValueError(f"{reason}; set PTTS_JAX_CACHE to a folder that can be written") from None
    return folder


def _localized(c: Config, weights_file: Path, tokenizer: Path) -> Config:
    table = dataclasses.replace(c.flow_lm.lookup_table, tokenizer_path=str(tokenizer))
    return dataclasses.replace(
        c,
        flow_lm=dataclasses.replace(c.flow_lm, lookup_table=table),
        weights_path=str(weights_file),
        weights_path_without_voice_cloning=None,
    )


def _tokenizer(folder: Path, c: Config) -> Path:
    """Of the kind that the model has: the two libraries start at different speeds."""
    table = c.flow_lm.lookup_table
    words = " ".join(PROMPTS.values())
    if table.tokenizer == "sentencepiece":
        return tokens.write_sentencepiece(folder / "tokenizer.model", words, table.n_bins)
    return tokens.write_json(folder / "tokenizer.json", words, table.n_bins)


def _random_weights(path: Path, name: str, c: Config) -> Path:
    if not path.is_file():
        say(f"{name}: its weights are not at hand; drawing random ones ...")
        rng = np.random.default_rng(0)
        shapes = flatten(weights.template(c))
        tree = unflatten({key: _draw(key, shape, rng) for key, shape in shapes.items()})
        tensors = to_reference(tree)
        safetensors.write(path, {key: x.astype(BFLOAT16) for key, x in tensors.items()})
    return path


def _draw(key: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Numbers that keep activations near one: no overflow, and none of the slow denormals."""
    *_, owner, leaf = key.split("/")
    if leaf in ("scale", "alpha", "std", "scale1", "scale2"):
        return np.full(shape, 0.3 if leaf.startswith("scale") and len(leaf) > 5 else 1, np.float32)
    if leaf == "freqs":
        return np.exp(-np.log(10_000.0) * np.arange(shape[0], dtype=np.float32) / shape[0])
    x = rng.standard_normal(shape, np.float32)
    if leaf in ("b", "bias", "mean"):
        return 0.1 * x
    if leaf in ("table", "bos", "bos_voice"):
        return x
    # Matrices are [out, in]; convolutions [taps, in, out], the depthwise one [taps, channels].
    fan_in = shape[-1] if len(shape) == 2 else shape[0] * (1 if owner == "upsample" else shape[1])
    loudness = 0.1 if owner == "last" and "decoder" in key else 1.0
    return x * np.float32(loudness * fan_in**-0.5)


def _random_voice(path: Path, c: Config) -> Path:
    """A voice state as the reference writes it."""
    if not path.is_file():
        random_voice(c, VOICE_SLOTS).save(path)
    return path


def random_voice(c: Config, slots: int) -> voices.Voice:
    """A voice that fills so many slots of the cache."""
    t, rng = c.flow_lm.transformer, np.random.default_rng(slots)

    def layers() -> tuple[Any, ...]:
        shape = (t.kv_heads, slots, t.head_dim)
        return tuple(rng.standard_normal(shape, np.float32) for _ in range(t.num_layers))

    return voices.Voice(layers(), layers())
