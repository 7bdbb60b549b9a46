"""The original, in torch: speaks the very files that we do."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptts_jax.bench.models import Subject

NAME = "pocket-tts"

# What reads each variable: torch's own kernels, oneDNN and MKL (products of floats), FBGEMM (those
# of integers). The last knows no VNNI of 256 bits.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "FBGEMM_ENABLE_INSTRUCTIONS",
)
_LIMITS = {
    "avx2": ("avx2", "AVX2", "AVX2", "AVX2"),
    "avxvnni": ("avx2", "AVX2_VNNI", "AVX2", "AVX2"),
    "avx512": ("avx512", "AVX512_CORE", "AVX512", "AVX512"),
    "avx512vnni": ("avx512", "AVX512_CORE_VNNI", "AVX512_E1", "AVX512_E1"),
}


def missing() -> str | None:
    needed = {"torch": "torch", "pocket_tts": "pocket-tts"}
    absent = [package for name, package in needed.items() if not importlib.util.find_spec(name)]
    if absent:
        return f"{' and '.join(absent)} not installed (pip install torch, then pocket-tts)"
    return None


def refuses(subject: Subject) -> str | None:
    return None


def options(subject: Subject, quantized: bool) -> dict[str, Any]:
    return {"yaml": str(subject.yaml), "voice": str(subject.voice), "quantize": quantized}


def weights(subject: Subject) -> Path:
    return subject.weights


def limits(isa: str) -> Mapping[str, str]:
    return dict(zip(_VARIABLES, _LIMITS[isa], strict=True))
