"""The small English model inside the package, and its voices: where their files are.

How it was trained and under which licence it stands is told beside it, in README.md.
"""

from pathlib import Path

from ptts_jax.model.schema import near

NAME = "bundled"
FOLDER = Path(__file__).parent
DEFAULT_VOICE = "joe"
FORMER = {"rms": "joe", "slt": "af_heart"}  # voices that were here: who speaks in their stead


def model() -> Path:
    return FOLDER / "model.safetensors"


def available() -> bool:
    """Whether this copy of the package carries the model: a checkout may be without."""
    return model().is_file()


def voices() -> tuple[str, ...]:
    """Names of the ready voices, the default one first."""
    names = (path.stem for path in (FOLDER / "voices").glob("*.safetensors"))
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_VOICE, name)))


def voice(name: str) -> Path:
    """The state of a ready voice."""
    if name in FORMER:
        raise ValueError(f"the voice {name!r} is no longer here: take {FORMER[name]!r} instead")
    if name not in voices():
        hint = near(name, voices()) or f"; the bundled ones are {', '.join(voices())}"
        raise ValueError(f"unknown voice {name!r}{hint}")
    return FOLDER / "voices" / f"{name}.safetensors"
