"""Instruction sets that engines can be held to, so that a processor stands in for a lesser one.

Variables that libraries read when they start hold an engine to a set: ours are here, those of a
peer in its own module. Engines are compared only where all are held to the same set.
"""

from collections.abc import Mapping, Sequence

# What the processor must have for each, as its flags say it.
NEEDS = {
    "avx2": {"avx2", "fma"},
    "avxvnni": {"avx2", "fma", "avx_vnni"},
    "avx512": {"avx512f", "avx512bw", "avx512vl"},
    "avx512vnni": {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"},
}
# The most that XLA may use for what the kernels leave to it.
_XLA = {"avx2": "AVX2", "avxvnni": "AVX2", "avx512": "AVX512", "avx512vnni": "AVX512_VNNI"}


def ours(isa: str) -> Mapping[str, str]:
    """Variables that hold our engine to a set; none without one."""
    if not isa:
        return {}
    return {"INT8_ISA": isa, "XLA_FLAGS": f"--xla_cpu_max_isa={_XLA[isa]}"}


def check(flag: str, isas: Sequence[str], flags: Sequence[str]) -> None:
    """Refuse sets that are unknown, or that a processor with these flags lacks."""
    if len(set(isas)) < len(isas):
        raise ValueError(f"--{flag}: name each once")
    usable = [isa for isa, needed in NEEDS.items() if needed <= set(flags)]
    for isa in isas:
        if isa not in NEEDS:
            raise ValueError(f"--{flag}: unknown {isa!r} (there are {', '.join(NEEDS)})")
        if isa not in usable:
            has = f"it can be held to {', '.join(usable)}" if usable else "it has none of them"
            raise ValueError(f"--{flag}: this processor lacks {isa} ({has})")
