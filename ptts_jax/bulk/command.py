"""python -m ptts_jax.bulk: flags, checks and messages; the work is in work.py."""

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from absl import flags

from ptts_jax import audio, command, speech_flags
from ptts_jax.bulk import before, cluster, finish, reading, shards
from ptts_jax.bulk.asked import Asked
from ptts_jax.bulk.job import Folder
from ptts_jax.bulk.lines import KNOWN, Settings
from ptts_jax.bulk.models import voice_key
from ptts_jax.bulk.progress import Progress, span
from ptts_jax.bulk.reading import Source
from ptts_jax.bulk.work import Work
from ptts_jax.messages import say

USAGE = """Speak many lines: python -m ptts_jax.bulk [FLAGS] INPUT OUT

INPUT is a file of JSON lines (.jsonl), a table (.csv, .tsv) or a text with a line each, or `-` for
JSON lines on standard input. A line has a text, and may have an id, a voice, a model, a seed and
whatever a flag below says for all. OUT is a folder. The same command goes on where it was stopped
or killed; several of them, on one machine or many, share the work.
"""


ASKED = ("input_format", "audio", "words", "check", "strict", "lease")  # flags, fields of Asked


def _define(values: flags.FlagValues) -> None:
    values.set_gnu_getopt()  # flags may stand behind the words
    add = command.definers(values)
    speech_flags.define_voice(values)
    add.whole("shard", 300, "lines that are written together", lower_bound=1)
    about = "a tar for WebDataset, a Parquet file, or a folder of files for each shard"
    add.choice("format", "tar", shards.FORMATS, about)
    kinds = [suffix[1:] for suffix in audio.FORMATS]
    add.choice("audio", "flac", kinds, "the kind of audio file")
    about = "what the input is, where its name does not say it"
    add.choice("input_format", None, reading.FORMATS, about)
    add.items("keep", [], "further fields of a line, which are kept in the index")
    add.switch("words", False, "the index tells when each word is spoken")
    about = "say again, a few times, what was said wrong; the index tells of it"
    add.switch("check", False, about)
    add.switch("strict", False, "end at the first line that cannot be said")
    about = "read all that was made, and set aside what is damaged; speak nothing"
    add.switch("verify", False, about)
    add.switch("merge", False, "write one index.jsonl of all shards; speak nothing")
    about = "seconds after which the shard of another machine that is silent is taken over"
    add.number("lease", 120.0, about, lower_bound=1)
    about = "a Ray cluster that speaks: local, auto (the one of this machine) or an address"
    add.text("ray", None, about)
    about = "processes on the cluster; as many as there is room for if not given"
    add.whole("ray_actors", None, about, lower_bound=1)
    add.whole("ray_cores", 1, "cores of each of them", lower_bound=1)
    speech_flags.define_manner(values, "loudness of each line in LUFS, as -16")
    speech_flags.define_int8(values)
    add.switch("quiet", False, "say nothing but errors and warnings")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv, words=2)


def _run(options: flags.FlagValues, words: list[str]) -> int:
    folder = Folder(words[1])
    if options.verify or options.merge:
        return _finish(options, folder)
    shards.check(options.format)
    _check_ray(options, words[0])
    if known := sorted(KNOWN & set(options.keep)):
        raise ValueError(
            f"--keep={known[0]}: that field is known; its value is in the index anyway"
        )
    asked = _asked(options, words)
    source = asked.source()
    job = _job(options, asked, source)
    folder.check(job)
    found = None
    if not source.once:
        told = folder.job() is not None and not options.strict
        settings = None if told else asked.settings
        found = before.look_through(source, options.shard, settings, options.quiet)
        job |= {"input": found.digest, "lines": found.lines}
        folder.check(job)
    if options.quiet:
        logging.getLogger("ptts_jax").setLevel(logging.ERROR)
    with cluster.connected(options.ray), asked.models() as models:
        job["revision"] = models.get().revision
        models.get().engine.tts.voice(options.voice)  # what is wrong with it is said now
        if found is not None:
            before.check_voices(found, models)
            before.tell(found, options.strict, source.name)
        folder.begin(job)
        progress = Progress(found and found.lines, options.quiet)
        with asked.work(job, source, models, progress) as work:
            if options.ray is None:
                return _work(work, work.run, options.quiet)
            plan = cluster.Plan(options.ray_actors, options.ray_cores)
            return _work(work, partial(cluster.run, work, asked, plan), options.quiet)


def _asked(options: flags.FlagValues, words: list[str]) -> Asked:
    return Asked(
        input=words[0],
        out=words[1],
        settings=Settings(
            speech_flags.options(options),
            speech_flags.manner(options),
            options.voice,
            tuple(options.keep),
        ),
        model=options.model,
        load={"quiet": options.quiet, **speech_flags.int8(options)},
        **{name: options[name].value for name in ASKED},
    )


def _check_ray(options: flags.FlagValues, source: str) -> None:
    """What is wrong with --ray is said before the work."""
    if options.ray is None:
        return
    if importlib.util.find_spec("ray") is None:
        raise ValueError("--ray: run pip install 'ptts_jax[ray]'")
    if source == "-":
        raise ValueError("--ray: standard input cannot be shared; name a file")


def _work(work: Work, run: Callable[[], int], quiet: bool) -> int:
    progress = work.progress
    with progress:
        total = run()
    if not quiet:
        own = f"{progress.lines:,} of them now, {span(progress.spoken)} of audio"
        rate = f" in {span(progress.seconds)}: {progress.spoken / progress.seconds:.1f}x real time"
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        say(f"{total:,} lines done, {own}{rate}{failed} -> {work.folder.path}")
    return 0


def _job(options: flags.FlagValues, asked: Asked, source: Source) -> dict[str, Any]:
    """What the audio and its files follow from."""
    settings = asked.settings
    how = {name: value for name, value in asdict(settings.options).items() if value is not None}
    manner = vars(settings.manner)
    lexicon = manner["lexicon"] and dict(manner["lexicon"])
    return {
        "input_format": source.format,
        "shard": options.shard,
        "format": options.format,
        "audio": options.audio,
        "voice": voice_key(options.voice),
        "words": options.words,
        "check": options.check,
        "keep": list(options.keep),
        **{name: how.get(name) for name in asdict(settings.options)},
        **manner,
        "lexicon": lexicon,
    }


def _finish(options: flags.FlagValues, folder: Folder) -> int:
    found = finish.verify(folder) if options.verify else finish.count(folder)
    wrong = []
    if found.damaged:
        wrong.append(f"{len(found.damaged)} shards were damaged and set aside")
    if found.missing:
        first = folder.shard(found.missing[0]).name
        wrong.append(f"{len(found.missing)} shards are not done, {first} the first")
    if wrong:
        said = "; ".join(wrong)
        raise ValueError(f"{folder.path}: {said}; give the command without --verify and --merge")
    if found.twice:
        say(f"warning: {found.twice:,} ids are those of several lines")
    if options.merge:
        finish.merge(folder)
    if not options.quiet:
        say(f"{found} -> {folder.path}")
    return 0


if __name__ == "__main__":
    command.start(main)
