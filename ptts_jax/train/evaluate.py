"""python -m ptts_jax.train.evaluate: held-out sentences of a model, judged by a recogniser.

The measure is always the engine's own audio (or the recordings) of the same sentences. Ties corpus,
models and recogniser together; the figures and the report are made beside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from ptts_jax import audio
from ptts_jax.train import command, evaluate_report, recogniser
from ptts_jax.train.corpus import Clip, Corpus, open_corpus
from ptts_jax.train.judge import Row, judge
from ptts_jax.train.sentences import everyday

if TYPE_CHECKING:
    from ptts_jax.config import MimiConfig
    from ptts_jax.tts import TTS
    from ptts_jax.voices import Voice

ENGINE, CODEC, MODEL, INT8 = "engine", "codec", "model", "int8"
USAGE = (
    "python -m ptts_jax.train.evaluate --model=NAME|YAML --corpus=FOLDER --out=FOLDER [flags]\n\n"
    "Has a recogniser hear held-out sentences: the engine's, the codec's and the model's.\n"
    "--codec=RUN instead of --model judges a codec that has no language model yet."
)

Keep = Callable[[str, str, int, np.ndarray, int], None]  # row, speaker, number, wave, rate


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _define(options: flags.FlagValues) -> None:
    flags.DEFINE_string("model", None, "a model's name, YAML or file", flag_values=options)
    flags.DEFINE_string("codec", None, "a codec's run, instead of --model", flag_values=options)
    flags.DEFINE_string("corpus", "runs/corpus", "the corpus folder", flag_values=options)
    flags.DEFINE_string("out", "runs/eval", "the folder of the report", flag_values=options)
    flags.DEFINE_integer("sentences", 60, "of each speaker", 1, flag_values=options)
    flags.DEFINE_list("speakers", None, "of the corpus; by default all", flag_values=options)
    flags.DEFINE_list(
        "voices",
        None,
        "the model's voice of each speaker: a name or file; by default the voice that bears the "
        "speaker's name, else one cloned from a training clip",
        flag_values=options,
    )
    flags.DEFINE_boolean("int8", False, "judge the model after int8 too", flag_values=options)
    flags.DEFINE_integer("seed", 0, "of the speech", flag_values=options)


def _run(options: flags.FlagValues) -> None:
    if bool(options.model) == bool(options.codec):
        raise ValueError(
            "give --model (a name, YAML or converted file) or --codec (a run's folder)"
        )
    recogniser.check()
    corpus, out = open_corpus(options.corpus), Path(options.out)
    speakers = options.speakers or list(corpus.speakers)
    if options.codec:
        from ptts_jax.train import codec

        params, config, step = codec.load(Path(options.codec))
        about = {"codec": options.codec, "step": step}
        count = options.sentences
        print(codec_report(params, config, corpus, out, count, speakers=speakers, about=about))
        return
    if options.voices and len(options.voices) != len(speakers):
        raise ValueError(f"--voices: give one for each speaker ({', '.join(speakers)}), or none")
    given = options.voices or [None] * len(speakers)
    clips = {speaker: held_out(corpus, speaker, options.sentences) for speaker in speakers}

    from ptts_jax import tts as facade

    tts = facade.load(options.model, quiet=False)
    voices = {s: voice(tts, corpus, s, v) for s, v in zip(speakers, given, strict=True)}
    keep, hear = saver(out), recogniser.hear
    rows = [engine_row(corpus, clips, hear, keep)]
    if "encoder" in tts.params["codec"]:
        rows.append(codec_row(tts.params["codec"], tts.config.mimi, corpus, clips, hear, keep))
    rows.append(model_row(MODEL, tts, corpus, clips, voices, hear, keep, options.seed))
    if options.int8:
        small = facade.load(options.model, int8=True, quiet=False)
        rows.append(model_row(INT8, small, corpus, clips, voices, hear, keep, options.seed))
    about = {"model": str(options.model), "seed": options.seed, "sample_rate": tts.sample_rate}
    print(evaluate_report.write(out, rows, {**about, "corpus": corpus.recipe}))


def held_out(corpus: Corpus, speaker: str, count: int) -> tuple[Clip, ...]:
    """The first held-out sentences that a recogniser can judge."""
    clips = [c for c in corpus.select("heldout", speaker) if everyday(c.text)][:count]
    if not clips:
        raise ValueError(
            f"{corpus.path} holds no held-out sentence of {speaker} with 3 to 12 words and no digit"
        )
    return tuple(clips)


def engine_row(
    corpus: Corpus,
    clips: dict[str, Sequence[Clip]],
    hear: recogniser.Hear,
    keep: Keep | None = None,
) -> Row:
    """The corpus' own audio: what all others are held against."""
    hear = recogniser.remembering(hear, corpus.path / "heard.json")
    rate = corpus.sample_rate
    return _row(ENGINE, corpus, clips, hear, keep, rate, lambda _, own: (own, [True] * len(own)))


def codec_row(
    params: dict[str, Any],
    config: MimiConfig,
    corpus: Corpus,
    clips: dict[str, Sequence[Clip]],
    hear: recogniser.Hear,
    keep: Keep | None = None,
) -> Row:
    """The corpus' audio encoded and decoded again; `params` has `encoder` and `decoder`."""
    from ptts_jax.train import speakers

    def made(_: str, own: list[np.ndarray]) -> tuple[list[np.ndarray], list[bool]]:
        waves = [audio.resample(w, corpus.sample_rate, config.sample_rate) for w in own]
        return speakers.repeat(params, config, waves), [True] * len(own)

    return _row(CODEC, corpus, clips, hear, keep, config.sample_rate, made)


def model_row(
    name: str,
    tts: TTS,
    corpus: Corpus,
    clips: dict[str, Sequence[Clip]],
    voices: dict[str, Voice],
    hear: recogniser.Hear,
    keep: Keep | None = None,
    seed: int = 0,
) -> Row:
    """The model saying the same sentences, each with its own fixed seed."""
    from ptts_jax.train import speakers

    def made(speaker: str, own: list[np.ndarray]) -> tuple[list[np.ndarray], list[bool]]:
        lines = [clip.text for clip in clips[speaker]]
        spoken = speakers.speak(tts, lines, voices[speaker], seed)
        return [s.wave for s in spoken], [s.ended for s in spoken]

    return _row(name, corpus, clips, hear, keep, tts.sample_rate, made)


def codec_report(
    params: dict[str, Any],
    config: MimiConfig,
    corpus: Corpus,
    out: str | Path,
    sentences: int = 60,
    speakers: Sequence[str] | None = None,
    about: dict[str, Any] | None = None,
) -> str:
    """The gate of a codec before there is a language model: engine and codec rows, as a table."""
    clips = {s: held_out(corpus, s, sentences) for s in speakers or corpus.speakers}
    keep, hear = saver(Path(out)), recogniser.hear
    rows = [
        engine_row(corpus, clips, hear, keep),
        codec_row(params, config, corpus, clips, hear, keep),
    ]
    return evaluate_report.write(Path(out), rows, {**(about or {}), "corpus": corpus.recipe})


def voice(tts: TTS, corpus: Corpus, speaker: str, source: str | None = None) -> Voice:
    """What was asked for, else the model's voice of that name, else one cloned from the corpus."""
    if source is not None:
        return tts.voice(source)
    if speaker in tts.voices:
        return tts.voice(speaker)
    from ptts_jax.train import speakers

    prompt = speakers.prompt(corpus, speaker)
    return tts.voice(audio.resample(prompt, corpus.sample_rate, tts.sample_rate))


def saver(out: Path) -> Keep:
    """Keeps what is heard as out/audio/ROW/SPEAKER-NN.wav."""

    def keep(row: str, speaker: str, number: int, wave: np.ndarray, rate: int) -> None:
        folder = out / "audio" / row
        folder.mkdir(parents=True, exist_ok=True)
        audio.write(folder / f"{speaker.replace('/', '_')}-{number:02d}.wav", wave, rate)

    return keep


def _row(
    name: str,
    corpus: Corpus,
    clips: dict[str, Sequence[Clip]],
    hear: recogniser.Hear,
    keep: Keep | None,
    rate: int,
    made: Callable[[str, list[np.ndarray]], tuple[Iterable[np.ndarray], Iterable[bool]]],
) -> Row:
    sentences = []
    for speaker, chosen in clips.items():
        print(f"{name}: {len(chosen)} sentences of {speaker}", file=sys.stderr, flush=True)
        own = [corpus.audio(clip) for clip in chosen]
        waves, ended = (list(part) for part in made(speaker, own))
        for number, wave in enumerate(waves if keep else ()):
            keep(name, speaker, number, wave, rate)
        texts = [clip.text for clip in chosen]
        row = judge(name, speaker, texts, waves, ended, rate, own, corpus.sample_rate, hear)
        sentences += row.sentences
    return Row(name, tuple(sentences))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
