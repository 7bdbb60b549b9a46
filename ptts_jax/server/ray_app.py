"""The server on a Ray cluster: each replica holds an engine, and Ray Serve shares out the requests.

    serve run ptts_jax.server.ray_app:app model=english max_replicas=8

The same HTTP as `ptts_jax.serve`, audio in pieces too. Replicas come and go with the requests that
are being spoken; a voice that a client adds is known to all only in a folder that all nodes see.
"""

import os
from pathlib import Path
from typing import Any

WAITING = 16  # requests that wait in a replica, beside those that it speaks


def app(arguments: dict[str, str]) -> Any:
    """A Serve application. Arguments: model, int8 (true), voices (a folder), slots (8), cores (2),
    min_replicas (1), max_replicas (8), api_key (or PTTS_API_KEY) and max_text (4096)."""
    from ray import serve

    known = {"model": "english", "int8": "true", "voices": "", "slots": "8", "cores": "2"}
    known |= {"min_replicas": "1", "max_replicas": "8", "max_text": "4096"}
    known["api_key"] = os.environ.get("PTTS_API_KEY", "")
    if unknown := sorted(arguments.keys() - known.keys()):
        raise ValueError(f"{unknown[0]}: there is no such argument; give {', '.join(known)}")
    given = known | arguments
    slots = int(given["slots"])

    def build() -> Any:
        """In each replica: its ASGI application."""
        return build_app(given)

    deployment = serve.deployment(
        serve.ingress(build)(),
        name="ptts_jax",
        max_ongoing_requests=slots + WAITING,
        ray_actor_options={"num_cpus": int(given["cores"])},
        autoscaling_config={
            "min_replicas": int(given["min_replicas"]),
            "max_replicas": int(given["max_replicas"]),
            "target_ongoing_requests": slots,
        },
        graceful_shutdown_timeout_s=60,
    )
    return deployment.bind()


def build_app(given: dict[str, str]) -> Any:
    """The server's routes around a model of this process."""
    import ptts_jax
    from ptts_jax.engine import startup
    from ptts_jax.engine.service import Engine
    from ptts_jax.serve import load_model, voices_folder
    from ptts_jax.server.app import build
    from ptts_jax.server.context import Context
    from ptts_jax.server.models import Models
    from ptts_jax.server.voices import Voices

    startup.use_one_heap()
    ptts_jax.use_compilation_cache()
    tts = load_model(given["model"], given["int8"].lower() in ("true", "1", "yes"))
    engine = Engine(tts, int(given["slots"]), WAITING, words=True)
    folder: Path | None = voices_folder(given["voices"] or None)
    models = Models.single(engine, Voices(tts, folder, False))
    return build(Context(models, given["api_key"] or None, int(given["max_text"])))
