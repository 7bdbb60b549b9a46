"""A corpus and its latents as the language model is trained on them: tokenized, joined, bucketed.

Texts go through the same preparation as in generation. Short sentences are also joined, two or
three of a speaker to a row, since generation groups short sentences into one chunk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptts_jax import text
from ptts_jax.model.config import Config, TextRules
from ptts_jax.text import Tokenizer
from ptts_jax.text.normalize import normalize
from ptts_jax.train.codec.latents import Latents
from ptts_jax.train.data.corpus import Clip, Corpus
from ptts_jax.train.lm import rows
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.rows import Bucket, Material, Rows, Utterance

FASTEST = 0.25  # frames per character: less than any engine needs


@dataclass(frozen=True)
class Data:
    train: Material
    held: Material
    batch: Callable[[int], Rows]  # of a step


def read(
    corpus: Corpus,
    latents: Latents,
    c: Config,
    tokenizer: Tokenizer,
    recipe: Recipe,
    *,
    joined: float,
    seed: int,
    scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> Data:
    """Both splits of a corpus.

    `scale` is the mean and deviation that a model normalises by already.
    """
    latents.check_corpus(corpus)
    mean, std = scale or (latents.mean, latents.std)

    def split(name: str, joined: float) -> Material:
        clips = corpus.select(split=name)
        if not clips:
            raise ValueError(f"{corpus.path}: no clip is {name}; make a larger corpus")
        return material(
            clips,
            *latents.of_all(clips),
            mean,
            std,
            tokenizer,
            c.text_rules,
            joined=joined,
            longest=text.longest_chunk(c),
            language=recipe.language,
            seed=seed,
        )

    train, held = split("train", joined), split("heldout", 0.0)
    parts = rows.buckets(train.utterances, recipe.buckets)
    batch = batches(train, parts, recipe.batch, recipe.voices, seed, recipe.curriculum)
    return Data(train, held, batch)


def material(
    clips: Sequence[Clip],
    latents: np.ndarray,
    starts: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    tokenizer: Tokenizer,
    rules: TextRules,
    *,
    joined: float = 0.0,
    longest: int = text.MAX_TOKENS,
    language: str = "",
    seed: int = 0,
) -> Material:
    """`starts` [clips + 1]: the first frame of each clip, and the end of the last.

    `joined` is how many joined utterances there are for every single one, `longest` their tokens at
    most: those of a chunk in generation. In a `language` texts are learned as they are said.
    """
    if language:
        clips = [replace(clip, text=normalize(clip.text, language).text) for clip in clips]
    if len(starts) != len(clips) + 1 or starts[-1] > len(latents):
        raise ValueError(
            f"the latents are of {len(starts) - 1} clips and the corpus has {len(clips)}: encode "
            "the corpus again with python -m ptts_jax.train.latents"
        )
    counts = np.diff(starts)
    alone = [_utterance((i,), clips, counts, tokenizer, rules) for i in range(len(clips))]
    for own, clip in zip(alone, clips, strict=True):
        if own.frames < FASTEST * len(own.tokens):
            raise ValueError(
                f"{own.frames} frames of audio cannot say {clip.text!r:.80}: text and audio do "
                "not belong together; mend or remove that clip"
            )
    rng = np.random.default_rng(seed)
    longer = _joined(alone, round(joined * len(alone)), longest, rng)
    more = [_utterance(c, clips, counts, tokenizer, rules) for c in longer]
    return Material(latents, starts[:-1], counts, mean, std, (*alone, *more))


def _utterance(
    members: tuple[int, ...],
    clips: Sequence[Clip],
    counts: np.ndarray,
    tokenizer: Tokenizer,
    rules: TextRules,
) -> Utterance:
    said = " ".join(clips[i].text.strip() for i in members)
    tokens = tuple(tokenizer.encode(text.prepare(said, rules).text))
    frames = int(sum(counts[i] for i in members))
    return Utterance(members, tokens, frames, clips[members[0]].speaker)


def _joined(
    alone: Sequence[Utterance], number: int, longest: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Two or three utterances of a speaker that generation would say in one go."""
    by_speaker: dict[str, list[int]] = {}
    for i, one in enumerate(alone):
        if len(one.tokens) < longest - 8:
            by_speaker.setdefault(one.speaker, []).append(i)
    groups = [g for g in by_speaker.values() if len(g) > 3]
    found: list[tuple[int, ...]] = []
    for _ in range(20 * number):
        if len(found) == number or not groups:
            break
        group = groups[rng.integers(len(groups))]
        chosen = rng.choice(group, size=3, replace=False)
        size = np.cumsum([len(alone[i].tokens) for i in chosen])
        take = int(np.sum(size <= longest))
        if take > 1:
            found.append(tuple(int(i) for i in chosen[:take]))
    return found


def batches(
    source: Material,
    parts: Sequence[Bucket],
    size: int,
    voices: tuple[int, int],
    seed: int,
    curriculum: int = 0,
) -> Callable[[int], Rows]:
    """The batch of a step, a function of the step alone.

    In the first `curriculum` steps the longer buckets come in one after the other.
    """
    weight = np.array([len(part.members) for part in parts], float)

    def batch(step: int) -> Rows:
        rng = np.random.default_rng((seed, step))
        known = len(parts)
        if step < curriculum:
            known = 1 + step * len(parts) // curriculum
        part = parts[rng.choice(known, p=weight[:known] / weight[:known].sum())]
        members = rng.choice(part.members, size, replace=len(part.members) < size)
        return rows.make(source, part, members, voices, rng)

    return batch
