"""Samples of a benchmark that nobody has measured."""

import dataclasses

from ptts_jax.bench.speed.measure import Plan, Sample


def sample(
    value, round=1, *, side="ours", figure="rtf", case="short", config="f32", isa=""
) -> Sample:
    return Sample("tiny", side, config, figure, case, round, value, isa)


def earlier(*samples: Sample, cpu: str = "A") -> dict:
    found = [dataclasses.asdict(s) for s in samples]
    return {"label": "before", "machine": {"cpu": cpu}, "samples": found}


def plan(tmp_path, **changes) -> Plan:
    common = {
        "configs": ["f32"],
        "peers": ["pocket-tts"],
        "runs": 3,
        "prompts": {"short": "a", "long": "b"},
    }
    common |= {"fills": (1,), "repeats": 1, "cores": [], "audio": tmp_path}
    return Plan(**common | changes)
