"""What a measurement was made on and with: processor, cores, versions."""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from ptts_jax.messages import say

# Instruction sets that decide how fast matrix products are, of x86 and of ARM.
_FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni")
_FLAGS += ("avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
_FLAGS += ("asimddp", "i8mm", "bf16", "sve", "sve2")
_PACKAGES = ("ptts_jax", "jax", "jaxlib", "flax", "numpy", "torch", "pocket-tts")


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


def has_peer() -> bool:
    """Whether the reference is installed; a line says what is missing."""
    missing = [name for name in ("torch", "pocket_tts") if importlib.util.find_spec(name) is None]
    if missing:
        say(f"{' and '.join(missing)} not installed: measuring ptts_jax alone")
    return not missing
