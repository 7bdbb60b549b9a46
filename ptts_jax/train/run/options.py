"""The flags that every run of training has, those made of a recipe's fields, and the run itself.

A run is a function of its flags: its checkpoint keeps them, and it does not go on with others.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from ptts_jax.train.run import checkpoint, command, loop

Recipe = TypeVar("Recipe")
# Flags that do not change what is learnt by a step, so that they may differ when a run goes on.
FREE = ("out", "steps", "seed", "validate_every", "save_minutes", "quiet", "accept_changes")


def define(values: flags.FlagValues) -> None:
    """The flags of a run on a corpus. Each command has `steps` in its recipe."""
    command.definers(values).needed(corpus="the corpus to train on", out="the folder of this run")
    define_running(values)


def define_running(values: flags.FlagValues) -> None:
    """The flags of any run, but for its folder and its steps."""
    add = command.definers(values)
    add.whole("seed", 0, "of everything random")
    add.whole("validate_every", 500, "steps", 1)
    add.number("save_minutes", 5, "between checkpoints", 0)
    add.switch("quiet", False, "no progress")
    words = "go on with other flags than those that the run in --out was begun with"
    add.switch("accept_changes", False, words)


def define_recipe(
    values: flags.FlagValues,
    defaults: Any,
    about: Mapping[str, str],
    without: Sequence[str] = (),
    choices: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """A flag for each field of a recipe but those `without`; `about` says what they mean."""
    add = command.definers(values)
    for field in dataclasses.fields(defaults):
        if field.name in without:
            continue
        name, default = field.name, getattr(defaults, field.name)
        words = about.get(name, name.replace("_", " "))
        if choices and name in choices:
            add.choice(name, default, choices[name], words)
        elif isinstance(default, tuple):
            add.items(name, [str(x) for x in default], words)
        elif isinstance(default, bool):
            add.switch(name, default, words)
        elif isinstance(default, int):
            add.whole(name, default, words, 0)
        else:
            add.number(name, default, words, 0)


def recipe(options: flags.FlagValues, kind: type[Recipe], **others: Any) -> Recipe:
    """The recipe that the flags describe, but for what `others` say."""
    names = [field.name for field in dataclasses.fields(kind)]
    given = {name: options[name].value for name in names if name in options}
    return kind(**{**given, **others})


def launch(stage: loop.Stage, options: flags.FlagValues) -> loop.State:
    """Train a stage in the folder --out, from its checkpoint if there is one."""
    kept = {name: value for name, value in options.flag_values_dict().items() if name not in FREE}
    out = Path(options.out)
    with checkpoint.alone(out):
        return loop.run(
            dataclasses.replace(stage, meta={**stage.meta, "flags": kept}),
            out=out,
            steps=options.steps,
            seed=options.seed,
            save_minutes=options.save_minutes,
            validate_every=options.validate_every,
            quiet=options.quiet,
            accept_changes=options.accept_changes,
        )
