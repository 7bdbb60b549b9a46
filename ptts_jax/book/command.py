"""python -m ptts_jax.book: flags, checks and messages; the work is in make.py."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from absl import flags

import ptts_jax
from ptts_jax import command, speech_flags
from ptts_jax.book import ledger, make, overlays, reading, report, writing
from ptts_jax.book.contents import KINDS, Book
from ptts_jax.book.plan import BEFORE, PACE, Choices, Planned, Voices, plan
from ptts_jax.bulk.models import Models
from ptts_jax.bulk.progress import Progress, span
from ptts_jax.bulk.speaking import Speaker
from ptts_jax.engine import startup
from ptts_jax.messages import say
from ptts_jax.store.paths import atomic_write

USAGE = """Read a book aloud: python -m ptts_jax.book [FLAGS] INPUT -o OUTPUT

INPUT is an .epub, .html, .md or .txt file. OUTPUT is a .m4b file, one with chapter marks and the
cover, or a folder, which gets a file for each chapter and a playlist. The same command goes on
where it was stopped or killed: what is spoken is kept in OUTPUT.parts until the book is done.
"""
PREVIEW = 60.0  # seconds


def _define(values: flags.FlagValues) -> None:
    values.set_gnu_getopt()  # flags may stand behind the input
    add = command.definers(values)
    add.text("output", None, "a .m4b file, or a folder for chapters; also -o", short_name="o")
    speech_flags.define_voice(values)
    add.text("dialogue", None, "another voice for what stands in quotation marks")
    about = (
        "a file with lines `what = voice`: a chapter's number, dialogue, heading, quote, note ..."
    )
    add.text("voices", None, about)
    add.choice("audio", "mp3", list(writing.KINDS), "of a file for each chapter")
    about = "write when each word is spoken, for each chapter"
    add.choice("subtitles", None, ["srt", "vtt"], about)
    add.text("epub", None, "write an EPUB 3 too that lights up what is said (media overlays)")
    add.switch("notes", False, "say footnotes and endnotes, at the end of their chapter")
    add.switch("code", False, "say listings of code too")
    about = "say a sentence again, a few times, if words were skipped or repeated"
    add.switch("check", True, about)
    add.text("title", None, "instead of what the book says")
    add.text("author", None, "instead of what the book says")
    add.switch("plan", False, "print the chapters and how long they will be; speak nothing")
    about = "speak only the first minute of this chapter, by its number"
    add.whole("preview", None, about, lower_bound=1)
    add.switch("keep_parts", False, "keep what was spoken when the book is done, for a changed one")
    speech_flags.define_manner(values, "loudness of each chapter in LUFS")
    values.set_default("loudness", -18.0)
    values.set_default("markup", False)
    speech_flags.define_int8(values)
    add.switch("quiet", False, "say nothing but errors and warnings")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv, words=1)


def _run(options: flags.FlagValues, words: list[str]) -> int:
    chosen, manner = speech_flags.options(options), speech_flags.manner(options)
    book = reading.read(words[0])
    given = {"title": options.title, "author": options.author}
    book = replace(book, **{name: value for name, value in given.items() if value})
    skipped = book.skipped.copy()
    voices = _voices(options)
    planned = plan(book, Choices(options.notes, options.code, voices), skipped)
    if not planned:
        raise ValueError(f"{words[0]}: there is nothing to say")
    if options.plan:
        return command.print_lines([book.title, *report.lines(planned, skipped)])
    if options.preview is not None:
        planned = [_preview(planned, options.preview)]
    output = _output(options.output)
    _check_epub(options.epub, words[0])
    if not options.quiet:
        say(f"{book.title}: {report.summary(planned, skipped)}")
    else:
        logging.getLogger("ptts_jax").setLevel(logging.ERROR)
    startup.use_one_heap()
    ptts_jax.use_compilation_cache()
    words_wanted = options.subtitles is not None
    with ExitStack() as stack:
        how = {"quiet": options.quiet, **speech_flags.int8(options)}
        watched = words_wanted or options.check
        models = stack.enter_context(Models(options.model, watched, **how))
        for voice in {options.voice, *voices.named.values()}:
            models.get().engine.tts.voice(voice)
        parts = output.with_name(f"{output.name}.parts")
        kept = stack.enter_context(ledger.opened(parts))
        total = sum(len(chapter.units) for chapter in planned)
        progress = Progress(total, options.quiet, what="pieces")
        speaker = Speaker(models, ".flac", words_wanted, options.check)
        manners = make.Manners(options.voice, chosen, manner, words_wanted)
        making = make.Making(models, speaker, kept, manners, progress, [])
        with progress:
            chapters = list(make.lay_out(planned, making, manner.loudness))
        if not chapters:
            first = making.failed[0]["error"]
            raise ValueError(f"{words[0]}: nothing of it can be said: {first}")
        _write(options, output, book, chapters, making)
        told = report.about(chapters, skipped, making.failed)
        _tell(options, output, told, progress)
    if not options.keep_parts and options.preview is None:
        shutil.rmtree(parts, ignore_errors=True)
    return 0


def _voices(options: flags.FlagValues) -> Voices:
    """Who says what, by --voices and --dialogue."""
    named = {}
    if options.voices is not None:
        from ptts_jax.text import lexicon

        named = dict(lexicon.read(options.voices))
        for what in named:
            if what not in (*KINDS, "dialogue") and not what.isdecimal():
                known = ", ".join(["dialogue", *KINDS])
                raise ValueError(
                    f"--voices {options.voices}: {what!r} is neither a chapter's number nor one of "
                    f"{known}"
                )
    if options.dialogue is not None:
        named["dialogue"] = options.dialogue
    return Voices(named)


def _output(output: str | None) -> Path:
    """Where the book goes; what is wrong with that is said before the work."""
    if not output:
        raise ValueError("-o: name a .m4b file, or a folder for chapters")
    path = Path(output)
    if importlib.util.find_spec("av") is None:
        raise ValueError("writing a book needs more packages: run pip install 'ptts_jax[book]'")
    if path.suffix and path.suffix != ".m4b" and not path.is_dir():
        raise ValueError(
            f"-o {output}: name a .m4b file, or a folder and --audio={path.suffix[1:]}"
        )
    if path.suffix == ".m4b" and path.is_dir():
        raise ValueError(f"-o {output}: it is a folder; name another file")
    if path.suffix != ".m4b" and path.exists() and not path.is_dir():
        raise ValueError(f"-o {output}: it is a file; name a folder")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise ValueError(f"-o {output}: there is no folder {parent}; create it first")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"-o {output}: {parent} cannot be written to; choose another folder")
    return path


def _check_epub(name: str | None, source: str) -> None:
    """Refuse an --epub that cannot be written, or would overwrite what is read."""
    if name is None:
        return
    path = Path(name)
    if path.suffix != ".epub" or path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"--epub {name}: name an .epub file in a folder that exists")
    if path.exists() and path.samefile(source):
        raise ValueError(f"--epub {name}: would overwrite what is read; name another file")


def _preview(planned: Sequence[Planned], number: int) -> Planned:
    """The first minute of a chapter."""
    if number > len(planned):
        raise ValueError(f"--preview {number}: there are {len(planned)} chapters (see --plan)")
    chapter, seconds, units = planned[number - 1], BEFORE, []
    for unit in chapter.units:
        units.append(unit)
        seconds += len(unit.text) / PACE + unit.pause
        if seconds > PREVIEW:
            break
    return replace(chapter, units=units)


def _write(
    options: flags.FlagValues,
    output: Path,
    book: Book,
    chapters: Sequence[make.Chapter],
    making: make.Making,
) -> None:
    if not options.quiet:
        say(f"writing {output}")
    how = book, chapters, making.ledger, options.voice
    if output.suffix == ".m4b":
        make.write_one(output, *how)
        beside = output.with_name(f"{output.stem}-subtitles")
    else:
        make.write_each(output, options.audio, *how)
        beside = output
    if options.subtitles is not None:
        make.write_subtitles(beside, options.subtitles, chapters)
    if options.epub is not None:
        overlays.write(Path(options.epub), book, chapters, making.ledger)


def _tell(options: flags.FlagValues, output: Path, told: dict, progress: Progress) -> None:
    """Writes the report beside the book, and says the most of it."""
    path = output.with_name(f"{output.stem}.report.json")
    with atomic_write(path) as part:
        part.write_text(report.as_json(told), encoding="utf-8")
    for name, what in (("not_said", "could not be said"), ("still_wrong", "may be said wrong")):
        if told[name]:
            count, first = len(told[name]), told[name][0]["text"]
            say(f"warning: {count} pieces {what}, {first!r} the first: see {path}")
    if not options.quiet:
        length = span(told["seconds"])
        new = f"{span(progress.spoken)} of it now in {span(progress.seconds)}"
        again = f", {told['said_again']} pieces said again" if told["said_again"] else ""
        say(f"{len(told['chapters'])} chapters, {length} of audio, {new}{again} -> {output}")


if __name__ == "__main__":
    command.start(main)
