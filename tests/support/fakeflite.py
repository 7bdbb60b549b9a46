"""A stand-in for the speech engine, to put on PATH: says the same whatever the text is."""

from pathlib import Path

import numpy as np
import soundfile

from tests.support import tiny_files

RATE = 16000


def write(folder: Path, seconds: float = 1.0) -> None:
    """The command `flite` in `folder`; beside it what it says, and notes of how it was called."""
    wave = np.concatenate([np.zeros(4000), tiny_files.speech(seconds, RATE), np.zeros(9000)])
    soundfile.write(folder / "said.wav", wave, RATE)
    script = folder / "flite"
    script.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = -lv ]; then echo "Voices available: rms slt"; exit; fi\n'
        'if [ "$1" = --version ]; then echo "  version: none"; exit; fi\n'
        f'echo "$@" >> {folder}/calls\n'
        f'while [ "$1" != -o ]; do shift; done\n/bin/cp {folder}/said.wav "$2"\n'
    )
    script.chmod(0o755)
