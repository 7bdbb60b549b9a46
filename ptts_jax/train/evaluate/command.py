"""python -m ptts_jax.train.evaluate: held-out sentences of a model, judged by models of others.

The measure is always the teacher's own audio (or the recordings) of the same sentences. Ties
corpus, models and judges together; the figures and the report are made beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ptts_jax import audio
from ptts_jax.train.data.corpus import Clip, Corpus, open_corpus
from ptts_jax.train.evaluate import judges, report, rows
from ptts_jax.train.evaluate.judges import Judges
from ptts_jax.train.evaluate.rows import CHECKED, INT8, MODEL, Hearing
from ptts_jax.train.run import command

if TYPE_CHECKING:
    from ptts_jax.engine.voices import Voice
    from ptts_jax.model.config import MimiConfig
    from ptts_jax.tts import TTS

USAGE = (
    "python -m ptts_jax.train.evaluate --model=NAME|YAML --corpus=FOLDER --out=FOLDER [flags]\n\n"
    "Has others judge held-out sentences: the teacher's, the codec's and the model's.\n"
    "--codec=RUN instead of --model judges a codec that has no language model yet."
)


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _define(options: flags.FlagValues) -> None:
    add = command.definers(options)
    add.text("model", None, "a model's name, YAML or file")
    add.text("codec", None, "a codec's run, instead of --model")
    add.text("corpus", "runs/corpus", "the corpus folder")
    add.text("out", "runs/eval", "the folder of the report")
    add.whole("sentences", 60, "everyday ones, a speaker", 1)
    add.whole("prose", 40, "sentences of prose, a speaker", 0)
    add.items("speakers", None, "of the corpus; by default all")
    add.items("judges", list(judges.NAMES), "who hears and rates what is said")
    about = "the model's voice of each speaker, a name or file; by default the one of the same name"
    add.items("voices", None, f"{about}, else one cloned from a training clip")
    add.switch("int8", False, "judge the model after int8 too")
    add.switch("check", False, "judge the model with the check too: what was said wrong again")
    add.whole("seed", 0, "of the speech")


def _run(options: flags.FlagValues) -> None:
    if bool(options.model) == bool(options.codec):
        raise ValueError(
            "give --model (a name, YAML or converted file) or --codec (a run's folder)"
        )
    heard_by = judges.chosen(options.judges)
    corpus, out = open_corpus(options.corpus), Path(options.out)
    speakers = options.speakers or list(corpus.speakers)
    count = (options.sentences, options.prose)
    clips = {speaker: rows.held_out(corpus, speaker, *count) for speaker in speakers}
    if options.codec:
        from ptts_jax.train.codec import runs

        params, config, step = runs.load(Path(options.codec))
        about = {"codec": options.codec, "step": step}
        print(codec_report(params, config, corpus, clips, out, heard_by, about))
        return
    if options.voices and len(options.voices) != len(speakers):
        raise ValueError(f"--voices: give one for each speaker ({', '.join(speakers)}), or none")
    given = options.voices or [None] * len(speakers)

    from ptts_jax import tts as facade

    tts = facade.load(options.model, quiet=False)
    voices = {s: voice(tts, corpus, s, v) for s, v in zip(speakers, given, strict=True)}
    hearing = Hearing(corpus, clips, heard_by, rows.saver(out))
    table = [rows.teacher_row(hearing)]
    if "encoder" in tts.params["codec"]:
        table.append(rows.codec_row(tts.params["codec"], tts.config.mimi, hearing))
    table.append(rows.model_row(MODEL, tts, voices, hearing, options.seed))
    if options.check:
        table.append(rows.model_row(CHECKED, tts, voices, hearing, options.seed))
    if options.int8:
        small = facade.load(options.model, int8=True, quiet=False)
        table.append(rows.model_row(INT8, small, voices, hearing, options.seed))
    about = {"model": str(options.model), "seed": options.seed, "sample_rate": tts.sample_rate}
    print(report.write(out, table, {**about, "corpus": corpus.recipe}))


def codec_report(
    params: dict[str, Any],
    config: MimiConfig,
    corpus: Corpus,
    clips: dict[str, Sequence[Clip]],
    out: Path,
    heard_by: Judges,
    about: dict[str, Any],
) -> str:
    """The gate of a codec before there is a language model: teacher and codec, as a table."""
    hearing = Hearing(corpus, clips, heard_by, rows.saver(out))
    table = [rows.teacher_row(hearing), rows.codec_row(params, config, hearing)]
    return report.write(out, table, {**about, "corpus": corpus.recipe})


def voice(tts: TTS, corpus: Corpus, speaker: str, source: str | None = None) -> Voice:
    """What was asked for, else the model's voice of that name, else one cloned from the corpus."""
    if source is not None:
        return tts.voice(source)
    if speaker in tts.voices:
        return tts.voice(speaker)
    from ptts_jax.train.evaluate import speakers

    prompt = speakers.prompt(corpus, speaker)
    return tts.voice(audio.resample(prompt, corpus.sample_rate, tts.sample_rate))
