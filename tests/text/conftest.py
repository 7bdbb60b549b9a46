"""Small tokenizers of both kinds, which cut a text alike."""

import pytest

from ptts_jax import text
from tests.support.tokens import write_sentencepiece, write_tokenizer_json


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[text.Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return [
        text.load_tokenizer(write_sentencepiece(folder / "a.model"), "sentencepiece", 4000),
        text.load_tokenizer(write_tokenizer_json(folder / "a.json"), "tokenizers", 4000),
    ]
