"""The benchmark, python -m ptts_jax.bench: both engines in turns on one machine."""
