"""Configs against the reference package: its files, its types, its refusals."""

import copy
import dataclasses
import random

import pytest
import torch
import yaml
from pocket_tts import default_parameters as reference_defaults
from pocket_tts.models.mimi import build_mimi
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.mlp import SimpleMLPAdaLN
from pocket_tts.modules.transformer import StreamingTransformer
from pocket_tts.utils import config as reference
from pocket_tts.utils import utils as reference_utils

from ptts_jax.model import config, released

OURS = {"vocoder", "input_bias"}  # fields that the reference does not know
FILES = sorted(reference.CONFIGS_DIR.glob("*.yaml"))


def same(ours, theirs, where: str = "") -> None:
    """Field by field: none is missing on either side, and what only we have is not used."""
    if dataclasses.is_dataclass(ours):
        names = {f.name for f in dataclasses.fields(ours)}
        shared = set(type(theirs).model_fields)
        assert names >= shared and names - shared <= OURS, where
        assert all(getattr(ours, name) is None for name in names - shared), where
        for name in shared:
            same(getattr(ours, name), getattr(theirs, name), f"{where}.{name}")
        return
    if isinstance(theirs, dict):
        theirs = tuple(theirs.items())
    if isinstance(theirs, list):
        theirs = tuple(theirs)
    assert ours == theirs and type(ours) is type(theirs), where


def test_the_released_models_are_the_reference_s():
    assert sorted(released.names()) == [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_released_config_is_the_reference_s(path):
    theirs = reference.load_config(path)
    same(config.get(path.stem), theirs)
    assert config.parse(path.read_text(encoding="utf-8"), path.name) == config.get(path.stem)
    assert reference.Config(**yaml.safe_load(config.to_yaml(config.get(path.stem)))) == theirs


@pytest.mark.parametrize("name", ["english", "english_7m_2026-10", "english_2m_2026-10"])
def test_derived_sizes_are_those_of_the_reference_s_modules(name):
    ours, theirs = config.get(name), reference.load_config(reference.CONFIGS_DIR / f"{name}.yaml")
    with torch.device("meta"):
        mimi = build_mimi(theirs.mimi)
        backbone = StreamingTransformer.from_pydantic_config(theirs.flow_lm.transformer)
        head = SimpleMLPAdaLN.from_pydantic_config(theirs.flow_lm, 32, 64)
    m = ours.mimi
    assert (m.frame_size, m.upsample_stride) == (
        mimi.frame_size,
        mimi.encoder_frame_rate / mimi.frame_rate,
    )
    assert m.voice_dim == mimi.downsample.conv.conv.out_channels
    assert m.decoder_net.hop_length == mimi.decoder.hop_length
    assert head.num_time_conds == ours.flow_lm.flow.num_times
    pairs = [
        (ours.flow_lm.transformer, backbone),
        (m.transformer, mimi.encoder_transformer.transformer),
        (m.decoder_tf, mimi.decoder_transformer.transformer),
    ]
    for t, module in pairs:
        attention = module.layers[0].self_attn
        assert t.num_layers == len(module.layers)
        assert (t.attn, t.head_dim, t.kv_heads) == (
            attention.attn_dim,
            attention.dim_per_head,
            attention.num_kv_heads,
        )
        assert t.ffn_dim == module.layers[0].linear1.out_features
        assert (t.context, float(t.max_period)) == (module.context, module.max_period)


def test_flow_types_are_those_the_reference_builds():
    theirs = reference.load_config(FILES[0]).flow_lm
    for kind in ("lsd", "flow_matching", "drifting", "pointwise", "euler", ""):
        theirs.flow.type = kind
        ours = config.FlowConfig(dim=8, depth=1, type=kind)
        theirs.flow.dim, theirs.flow.depth = 8, 1
        if all(holds for holds, _ in ours.rules()):
            built = SimpleMLPAdaLN.from_pydantic_config(theirs, 4, 4)
            assert built.num_time_conds == ours.num_times
        else:
            with pytest.raises(ValueError, match="Unknown flow type"):
                SimpleMLPAdaLN.from_pydantic_config(theirs, 4, 4)


def test_what_the_reference_refuses_is_refused_and_what_is_taken_is_read_alike():
    """Random damage to every released file: one field removed, added, or given another value."""
    rng = random.Random(0)
    junk = [None, "x", -1, 0, 1, 2.5, "3", True, [], [1, 2], ["a"], {}, {"a": "b"}, {"a": 1}, 1e300]
    whole = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES]
    refused = taken = 0
    for _ in range(300):
        before = rng.choice(whole)
        data = section = copy.deepcopy(before)
        while True:
            key = rng.choice(list(section))
            if not isinstance(section[key], dict) or rng.random() < 0.1:
                break
            section = section[key]
        kind = rng.randrange(3)
        if kind == 0:
            del section[key]
        else:
            section[key if kind == 1 else f"{key}x"] = rng.choice(junk)
        if data == before:
            continue
        try:
            theirs = reference.Config(**data)
        except ValueError:
            refused += 1
            with pytest.raises(config.ConfigError):
                config.build(data, "damaged")
            continue
        try:
            ours = config.build(data, "damaged")
        except config.ConfigError:
            continue  # a value that the reference takes and fails on later
        taken += 1
        same(ours, theirs)
    assert refused > 80 and taken > 20


def test_voices_and_defaults_are_the_reference_s():
    assert reference_utils._ORIGINS_OF_PREDEFINED_VOICES == released.VOICES
    for model in released.names():
        voice = reference_defaults.get_default_voice_for_language(model)
        assert released.default_voice(model) == voice
        assert released.voice_url(model, voice) == reference_utils.get_predefined_voice(
            model, voice
        )
    own = reference_defaults.get_default_voice_for_language(None, config="my.yaml")
    assert released.default_voice(None) == own
    assert released.names()[0] == reference_defaults.DEFAULT_LANGUAGE
    assert config.Config.default_eos_threshold == reference_defaults.DEFAULT_EOS_THRESHOLD
    assert config.Config.default_temperature == reference_defaults.DEFAULT_TEMPERATURE


def test_weights_that_the_reference_cannot_combine_are_refused():
    """Its own rule, found where it loads the weights."""
    data = yaml.safe_load(config.to_yaml(config.get("english_2m_2026-10")))
    data["weights_path"] = None
    data["mimi"]["weights_path"] = "codec.safetensors"
    with pytest.raises(config.ConfigError, match="weights_path or weights_path beside it"):
        config.build(data, "x")
    del data["mimi"]["weights_path"]
    data["flow_lm"]["weights_path"] = "lm.safetensors"
    with pytest.raises(config.ConfigError, match="flow_lm.weights_path needs it"):
        config.build(data, "x")
    theirs = reference.Config(**data)
    with (
        torch.device("meta"),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ValueError, match="you should specify mimi.weights_path"),
    ):
        patch.setattr("pocket_tts.modules.text_conditioner.build_tokenizer", lambda *a: None)
        TTSModel._from_pydantic_config_with_weights(theirs, 0.3, 1, None, -4.0)
