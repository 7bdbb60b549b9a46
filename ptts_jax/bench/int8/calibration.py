"""What a language model's weights are multiplied with while it speaks, as rounding them with a view
to it needs it (int8/feedback.py)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ptts_jax.bench.int8 import speech, subject
from ptts_jax.bench.int8.layers import Grams, products
from ptts_jax.bench.int8.subject import Subject
from ptts_jax.messages import say
from ptts_jax.store.quantization import matrix_shape
from ptts_jax.tts import TTS

BUILT_IN = "english"
TEXTS = (
    "Good morning!",
    "No, thank you.",
    "Is this seat taken?",
    "My brother plays the cello in a small orchestra.",
    "The train to the coast leaves from platform nine at half past six.",
    "You could smell the bakery long before you saw it.",
    "He read the letter again, folded it, and put it into his pocket.",
    "Why would anybody paint a barn blue?",
    "Rain fell on the tents, the cars, the band, and everyone who had come to listen.",
    "Our neighbours keep bees, and every autumn they bring us three jars of honey.",
    "Be careful on the stairs; the third one from the top is loose.",
    "A fox crossed the garden, stopped beneath the apple tree, and looked straight at her.",
    "The museum has kept the clock exactly as it was when the last owner wound it.",
    "If the bridge is closed tomorrow we shall have to go round by the old quarry.",
    "Nothing in the drawer was worth stealing, and yet somebody had gone through all of it.",
    "Eleven people applied, four were invited, and only one of them arrived on time.",
    "They had walked since dawn, and nobody wanted to be the first to ask for a rest.",
    "Please repeat the number slowly, so that I can write it down.",
    "What he called a shortcut took us through two fields, a stream, and a very angry goose.",
    "The doctor smiled, closed the window, and told him that there was no need to worry.",
    "Fresh bread, salted butter, a sharp knife.",
    "She had never learned to swim, although she grew up within sight of the harbour.",
    "Most of what we know about the village comes from a single diary.",
    "Let us begin with the simplest question: who turned off the light?",
)


def listen(model: str, texts: str, voice: str | None) -> tuple[TTS, Grams]:
    """A float model, and its `grams` on the texts of a file, or on those that are built in."""
    some = TEXTS if texts == BUILT_IN else subject.lines(texts, "--calibrate")
    loaded = subject.prepare(model, voice=voice)
    return loaded.tts, grams(loaded, some)


def grams(model: Subject, texts: Sequence[str] = TEXTS) -> Grams:
    """For each weight of the language model, the sum of x.T @ x over what it is multiplied with.

    The report judges none of the texts that are built in.
    """
    model = subject.speaking(model.tts, texts, model.setup.voice)
    say(f"listening to {len(model.texts)} texts ...")
    params, setup = model.tts.params, model.setup
    told = [run.latents for run in speech.free(params, setup)]
    found: dict[str, np.ndarray] = {}

    def around(name: str, layer: nn.Module, call: Any, args: Sequence[Any]) -> Any:
        columns = matrix_shape(layer.get_variable("params", "w").shape)[-1]
        rows = np.asarray(args[0], np.float64).reshape(-1, columns)
        found[name] = found.get(name, 0.0) + rows.T @ rows
        return call(*args)

    with jax.disable_jit(), products({"lm": params["lm"]}, around):
        for _ in speech.following(params, setup, told):
            pass
    return found
