"""What a measurement was made on and with: processor, cores, versions."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

# Instruction sets that decide how fast matrix products are, of x86 and of ARM.
_FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni")
_FLAGS += ("avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
_FLAGS += ("asimddp", "i8mm", "bf16", "sve", "sve2")
_PACKAGES = ("ptts_jax", "jax", "jaxlib", "flax", "numpy", "torch", "pocket-tts", "ptts")
# What is said of a processor: it has one of these if it has any of the flags.
_SETS = {
    "x86": {
        "AVX2": {"avx2"},
        "AVX512": {"avx512bw"},
        "VNNI": {"avx512_vnni", "avx_vnni"},
        "BF16": {"avx512_bf16"},
        "AMX": {"amx_int8", "amx_bf16"},
    },
    "ARM": {"DOTPROD": {"asimddp"}, "I8MM": {"i8mm"}, "BF16": {"bf16"}, "SVE": {"sve", "sve2"}},
}


def machine() -> dict[str, Any]:
    """The processor and how busy it is right now."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return {
        "cpu": info.get("model name") or _mac_cpu() or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else [],
    }


def processor(made_on: dict[str, Any]) -> str:
    """One line: what the processor is, which instruction sets it has, and which it lacks."""
    named = f"processor: {made_on['cpu']}, {made_on['cores']} cores"
    if not made_on["flags"]:
        return f"{named}; this system does not say which instruction sets it has"
    sets = _SETS["ARM" if re.search(r"arm|aarch", made_on["system"], re.I) else "x86"]
    has = [name for name, flags in sets.items() if flags & set(made_on["flags"])]
    lacks = [name for name in sets if name not in has]
    shown = f"{named}; has {', '.join(has) or 'none of ' + ', '.join(sets)}"
    return f"{shown}; lacks {', '.join(lacks)}" if has and lacks else shown


def _cpuinfo() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _mac_cpu() -> str:
    return _output("sysctl", "-n", "machdep.cpu.brand_string")


def versions() -> dict[str, str]:
    """Of Python and of every package that matters and is installed; of a checkout, its commit."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    here = Path(__file__).parents[2]
    if (here / ".git").exists():
        found["ptts_jax"] = _output("git", "-C", str(here), "describe", "--always", "--dirty")
    return found


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def cores(count: int | None) -> list[int]:
    """The cores that both engines are kept on; none where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        if count is not None:
            raise ValueError("--threads: this system cannot keep a process on some cores; leave it")
        return []
    usable = sorted(os.sched_getaffinity(0))
    if count is not None and count > len(usable):
        raise ValueError(f"--threads {count}: there are {len(usable)} cores to use")
    return usable[:count]
