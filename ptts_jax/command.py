"""What all commands share: flags in, one line of error out, and how a command ends.

A command has a text of its usage, a function that defines its flags, and one that does the work.
"""

import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import NoReturn

from absl import flags

from ptts_jax.messages import say
from ptts_jax.model.schema import near

WIDTH = 100  # characters of a line of help


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or another signal that asks to end."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def main(
    usage: str,
    define: Callable[[flags.FlagValues], None],
    run: Callable[[flags.FlagValues, list[str]], int | None],
    argv: list[str],
    *,
    words: int | None = 0,
) -> int:
    """Parse `argv` (the command's name first, as in sys.argv), run, and return the exit status.

    `words` is how many words must stand beside the flags; None is any number. `run` returns its own
    status where it is not 0. What the user can mend, it raises as ValueError or OSError.
    """
    options = flags.FlagValues()
    define(options)
    try:
        if {"--help", "-h"} & set(argv[1 : argv.index("--") if "--" in argv else None]):
            return print_lines([usage, *_help(options)])
        given = parse(options, argv)
        if words is not None and len(given) != words:
            raise flags.Error(_miscounted(given, words))
        return run(options, given) or 0
    except flags.Error as error:
        said = re.sub(r"\('Non-boolean .*\)", "give true or false", " ".join(str(error).split()))
        return fail(f"{said} (see --help)")
    except (ValueError, OSError) as error:
        return fail(str(error))
    except KeyboardInterrupt as stopped:
        if not ("quiet" in options and options.is_parsed() and options.quiet):
            say(" ".join(["interrupted", *map(str, stopped.args)]))
        return 128 + getattr(stopped, "number", signal.SIGINT)


def check_known(flag: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name in a flag's list that is none of those that there are."""
    for name in names:
        if name not in known:
            raise ValueError(f"--{flag}: unknown {name!r} (there are {', '.join(known)})")


def definers(values: flags.FlagValues) -> SimpleNamespace:
    """Functions that define flags, one for each kind: `.text("out", None, "the folder")`, or
    `.needed(out="the folder")` for texts that must be given."""
    kinds = {
        "text": flags.DEFINE_string,
        "texts": flags.DEFINE_multi_string,
        "items": flags.DEFINE_list,
        "choice": flags.DEFINE_enum,
        "whole": flags.DEFINE_integer,
        "number": flags.DEFINE_float,
        "switch": flags.DEFINE_bool,
    }
    named = {kind: partial(define, flag_values=values) for kind, define in kinds.items()}

    def needed(**about: str) -> None:
        for name, help in about.items():
            named["text"](name, None, help, required=True)

    return SimpleNamespace(**named, needed=needed)


def parse(options: flags.FlagValues, argv: list[str]) -> list[str]:
    """The words beside the flags. What looks like a flag and is none is a mistake."""
    words = options(argv, known_only=True)[1:]
    end = words.index("--") if "--" in words else len(words)
    for word in words[:end]:
        if flag := re.match(r"--?([A-Za-z]\w*)(=|$)", word):
            hint = near(flag[1], options) or "; a text that begins with a dash goes behind --"
            raise flags.Error(f"unknown flag --{flag[1]}{hint}")
    return words[:end] + words[end + 1 :]


def _miscounted(given: list[str], words: int) -> str:
    if words == 0:
        return f"{given[0]}: only flags are understood"
    return f"{len(given)} words where {words} are needed: {' '.join(given)}".rstrip(": ")


def _help(options: flags.FlagValues) -> Iterator[str]:
    own = {name: flag for name, flag in options._flags().items() if name == flag.name}
    width = max(map(len, own), default=0)
    for name, flag in own.items():
        default = (flag.default_as_str or "").strip("'")
        shown = "" if flag.default is None or flag.default is False else f" (default: {default})"
        yield textwrap.fill(
            f"{flag.help}{shown}",
            WIDTH,
            initial_indent=f"  --{name:{width}}  ",
            subsequent_indent=" " * (width + 6),
            break_long_words=False,
            break_on_hyphens=False,
        )


def print_lines(lines: Iterable[str]) -> int:
    """Lines on standard output, which may be closed before all are read; the exit status."""
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # `| head`; Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def fail(message: str, code: int = 1) -> int:
    """Say what went wrong, in one line; the exit status."""
    say(f"error: {'; '.join(message.splitlines())}")
    return code


def start(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a command as the whole program, with the words of the command line."""
    _open_standard_streams()
    _listen_for_signals()
    sys.exit(main(sys.argv))


def _open_standard_streams() -> None:
    """Put the null device where a standard stream is closed, as daemons have it.

    The next file to be opened would take its number, and what a library writes to standard error
    would go into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _listen_for_signals() -> None:
    """Let `kill`, a closed terminal and Ctrl-C interrupt; twice within a second is once."""
    last = -1.0

    def interrupt(number: int, _: object) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if before < 0 or last - before > 1:
            raise Interrupted(number)

    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
