"""A tiny model as the benchmark finds it, where nothing else is at hand."""

import pytest

from ptts_jax.bench import models as bench_models


@pytest.fixture
def subject(files) -> bench_models.Subject:
    return bench_models.prepare(str(files.yaml))


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTTS_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))  # no model is at hand
        yield
