"""sherpa-onnx, which speaks Pocket TTS from ONNX graphs: here to say why it is not measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ptts_jax.bench.models import Subject

NAME = "sherpa-onnx"


def missing() -> str | None:
    return "it takes ONNX graphs exported elsewhere, whose weights cannot be random ones of ours"


def refuses(subject: Subject) -> str | None:
    return missing()


def options(subject: Subject, quantized: bool) -> dict[str, Any]:
    return _never()


def weights(subject: Subject) -> Path:
    return _never()


def limits(isa: str) -> Mapping[str, str]:
    return _never()


def _never() -> NoReturn:
    raise NotImplementedError(missing())
