"""python -m ptts_jax.compat generate|export_voice: the original's commands, with its flags."""

from ptts_jax import command
from ptts_jax.compat.command import main

command.start(main)
