"""Reading, checking and writing configs; the released models and voices."""

import copy
import dataclasses

import pytest
import yaml

from ptts_jax.model import config, released

ENGLISH = config.get("english")


def changed(**fields) -> str:
    """The English model's YAML with fields set (`flow_lm__z_dim=3`) or removed (`...`)."""
    data = yaml.safe_load(config.to_yaml(ENGLISH))
    for path, value in fields.items():
        *sections, name = path.split("__")
        section = data
        for key in sections:
            section = section[key]
        if value is ...:
            del section[name]
        else:
            section[name] = value
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)


def errors(text: str, name: str = "my.yaml") -> list[str]:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, name)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{name}: ") for line in lines)
    return [line.removeprefix(f"{name}: ") for line in lines]


def test_the_released_models_are_27_and_english_comes_first():
    assert len(released.names()) == len(set(released.names())) == 27
    assert released.names()[0] == "english"


@pytest.mark.parametrize("name", released.names())
def test_a_released_config_survives_yaml_and_can_key_a_dict(name):
    c = config.get(name)
    again = config.parse(config.to_yaml(c), "copy")
    assert again == c and again is not c and hash(again) == hash(c)
    assert f"/languages/{name}/model.safetensors@" in c.weights_path
    assert f"/languages/{name}/model.safetensors@" in c.weights_path_without_voice_cloning


def test_the_released_models_need_no_yaml(monkeypatch):
    monkeypatch.setattr(yaml, "load", None)
    monkeypatch.setattr(yaml, "safe_load", None)
    config.get.cache_clear()
    assert all(config.get(name).mimi.frame_size == 1920 for name in released.names())


@pytest.mark.parametrize(
    "name, backbone, head, text",
    [  # d_model, layers, attn, heads, kv heads, head_dim, ffn, z; type, dim, depth, times
        ("english", (1024, 6, 1024, 16, 16, 64, 4096, None), ("lsd", 512, 6, 2), (4000, None)),
        ("dutch_24l", (1024, 24, 1024, 16, 16, 64, 4096, None), ("lsd", 512, 6, 2), (4000, None)),
        (
            "english_drifting_26-09",
            (1024, 6, 1024, 16, 16, 64, 4096, None),
            ("drifting", 512, 6, 0),
            (4000, None),
        ),
        (
            "english_18m_2026-10",
            (512, 8, 512, 8, 8, 64, 512, 64),
            ("drifting", 192, 4, 0),
            (4000, None),
        ),
        (
            "english_7m_refl_2026-10",
            (224, 8, 512, 8, 2, 64, 224, 64),
            ("drifting", 192, 4, 0),
            (4000, 64),
        ),
        (
            "english_2m_2026-10",
            (112, 8, 192, 3, 1, 64, 96, 64),
            ("pointwise", 64, 4, 0),
            (4000, 32),
        ),
    ],
)
def test_derived_sizes_of_the_language_model(name, backbone, head, text):
    lm = config.get(name).flow_lm
    t = lm.transformer
    found = (t.d_model, t.num_layers, t.attn, t.num_heads, t.kv_heads, t.head_dim, t.ffn_dim)
    assert (*found, lm.z_dim) == backbone
    assert (lm.flow.type, lm.flow.dim, lm.flow.depth, lm.flow.num_times) == head
    assert (lm.lookup_table.n_bins, lm.lookup_table.rank) == text
    assert t.context is None and t.layer_scale is None


def test_derived_sizes_of_the_codec():
    large, small = ENGLISH.mimi, config.get("english_2m_2026-10").mimi
    for c in (large, small):
        assert (c.frame_size, c.upsample_stride, c.latent_dim, c.voice_dim) == (1920, 16, 32, 32)
        assert c.seanet.hop_length == c.decoder_net.hop_length == 120
    assert config.get("english_2026-01").mimi.voice_dim == 512
    assert large.decoder_net is large.seanet and large.decoder_tf is large.transformer
    assert (small.decoder_net.n_filters, small.decoder_net.dimension) == (24, 128)
    t = small.decoder_tf
    assert (t.attn, t.head_dim, t.kv_heads, t.ffn_dim) == (128, 32, 4, 384)
    assert (t.context, t.layer_scale, t.output_dimension, t.max_period) == (50, 0.01, 128, 1e4)


def test_heads_take_two_one_or_no_times():
    kinds = {"lsd": 2, "flow_matching": 1, "drifting": 0, "pointwise": 0, "plain": 0}
    for kind, times in kinds.items():
        c = config.parse(changed(flow_lm__flow__type=kind), "x")
        assert c.flow_lm.flow.num_times == times


def test_defaults_and_text_rules():
    optional = ("replace_characters", "default_temperature", "pad_with_spaces_for_short_inputs")
    c = config.parse(changed(**dict.fromkeys(optional, ...)), "x")
    assert c == dataclasses.replace(ENGLISH, replace_characters=())
    assert c.text_rules == config.TextRules()
    french = config.get("french").text_rules
    assert french.remove_semicolons and dict(french.replace_characters)[":"] == ","
    assert dict(ENGLISH.replace_characters) == {"’": "'", "‘": "'"}
    assert dict(config.get("english_2026-01").replace_characters) == dict(
        ENGLISH.replace_characters
    )


def test_numbers_that_yaml_takes_for_texts_are_numbers():
    assert isinstance(yaml.safe_load("1e-2"), str)
    text = changed(mimi__transformer__layer_scale="1e-2", flow_lm__flow__depth=6.0)
    assert config.parse(text, "x") == ENGLISH
    assert type(config.parse(text, "x").flow_lm.flow.depth) is int


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weigths_path": "x"}, "weigths_path: unknown field; did you mean weights_path?"),
        ({"flow_lm__flow__typ": "lsd"}, "flow_lm.flow.typ: unknown field; did you mean type?"),
        ({"mimi__zzz": 1}, "mimi.zzz: unknown field"),
        ({"mimi__seanet__a b\nc": 1}, "mimi.seanet.'a b\\nc': unknown field"),
        ({"mimi__seanet__ratios": ...}, "mimi.seanet.ratios: missing"),
        ({"flow_lm": ...}, "flow_lm: missing"),
        ({"mimi": [1]}, "mimi: expected a section, got [1]"),
        ({"mimi__quantizer": None}, "mimi.quantizer: expected a section, got None"),
        ({"flow_lm__z_dim": "wide"}, "flow_lm.z_dim: expected a whole number, got 'wide'"),
        ({"flow_lm__z_dim": 1.5}, "flow_lm.z_dim: expected a whole number, got 1.5"),
        ({"flow_lm__z_dim": True}, "flow_lm.z_dim: expected a whole number, got True"),
        ({"flow_lm__z_dim": 0}, "flow_lm.z_dim: must be at least 1, got 0"),
        ({"mimi__frame_rate": None}, "mimi.frame_rate: expected a number, got None"),
        ({"default_temperature": float("nan")}, "default_temperature: expected a number, got nan"),
        ({"default_temperature": -1}, "default_temperature: must not be negative, got -1"),
        ({"default_temperature": 10**400}, "default_temperature: expected a number, got 1000"),
        ({"weights_path": 3}, "weights_path: expected a text, got 3"),
        ({"remove_semicolons": "maybe"}, "remove_semicolons: expected true or false, got 'maybe'"),
        ({"mimi__seanet__ratios": 4}, "mimi.seanet.ratios: expected a list of whole numbers"),
        ({"mimi__seanet__ratios": [4, "x"]}, "mimi.seanet.ratios: expected a list of whole"),
        ({"mimi__seanet__ratios": [0, 5, 4]}, "mimi.seanet.ratios: must be at least 1"),
        ({"mimi__seanet__ratios": []}, "mimi.seanet.ratios: must not be empty"),
        ({"replace_characters": {"ab": ""}}, "replace_characters: expected a mapping from single"),
        ({"replace_characters": {"a": None}}, "replace_characters: expected a mapping from single"),
        ({"replace_characters": "abc"}, "replace_characters: expected a mapping from single"),
        ({"flow_lm__flow__type": "lds"}, "unknown flow type 'lds'; did you mean lsd?"),
        ({"flow_lm__flow__type": "x"}, "there are lsd, flow_matching, drifting, pointwise, plain"),
        ({"flow_lm__transformer__num_heads": 15}, "15 heads do not divide a width of 1024"),
        ({"flow_lm__transformer__attn_dim": 48}, "RoPE needs an even width per head, got 3"),
        ({"flow_lm__transformer__num_kv_heads": 3}, "num_kv_heads: 3 do not divide 16 heads"),
        ({"flow_lm__dtype": "bfloat16"}, "flow_lm.dtype: only float32 can be loaded"),
        ({"flow_lm__lookup_table__dim": 512}, "must be transformer.d_model (1024), got 512"),
        ({"mimi__frame_rate": 12}, "24000 / 120 / 12 = 16.6667"),
        ({"mimi__frame_rate": 0}, "mimi.frame_rate: sample_rate / (product of seanet.ratios)"),
        ({"mimi__frame_rate": 200}, "must be a whole number from 2, got 24000 / 120 / 200 = 1"),
        ({"mimi__channels": 2}, "mimi.channels: only mono is supported, got 2"),
        ({"mimi__seanet__pad_mode": "reflect"}, "expected constant or replicate, got 'reflect'"),
        ({"mimi__seanet__compress": 65}, "n_filters: must be at least compress, 65"),
        ({"mimi__transformer__output_dimensions": [512, 8]}, "expected one number, got [512, 8]"),
        ({"mimi__transformer__input_dimension": 256}, "must be the dimension of its convolutions"),
        ({"mimi__transformer__max_period": 0}, "mimi.transformer.max_period: must be positive"),
        ({"mimi__outer_dim": 256}, "outer_dim: must be the decoder's dimension (512), got 256"),
        ({"mimi__quantizer__output_dimension": 9}, "must be the decoder's dimension (512), got 9"),
        ({"flow_lm__weights_path": "a"}, "mimi.weights_path: missing, flow_lm.weights_path needs"),
        ({"mimi__weights_path": "a", "weights_path": ...}, "weights_path or weights_path beside"),
    ],
)
def test_a_mistake_is_named_in_one_line(change, message):
    (line,) = errors(changed(**change))
    assert message in line


def test_a_decoder_of_its_own_must_fit():
    seanet = yaml.safe_load(config.to_yaml(ENGLISH))["mimi"]["seanet"]
    (line,) = errors(changed(mimi__decoder_seanet=seanet | {"ratios": [6, 5, 5]}))
    assert line == "mimi.decoder_seanet.ratios: must multiply to the encoder's 120, got 150"
    lines = errors(changed(mimi__decoder_seanet=seanet | {"dimension": 128}))
    assert [line.split(":")[0] for line in lines] == [
        "mimi.decoder_transformer.input_dimension",
        "mimi.decoder_transformer.output_dimension",
        "mimi.outer_dim",
        "mimi.quantizer.output_dimension",
    ]


def test_all_mistakes_of_a_file_come_together():
    lines = errors(
        changed(
            flow_lm__flow__dims=3,
            flow_lm__transformer__num_heads=7,
            mimi__frame_rate=13,
            mimi__seanet__compress=...,
            default_temperature="warm",
        )
    )
    assert len(lines) == 4 and lines[0].startswith("flow_lm.flow.dims: unknown field")
    assert {line.split(":")[0] for line in lines[1:]} == {
        "flow_lm.transformer.num_heads",
        "mimi.seanet.compress",
        "default_temperature",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "a: [",
        "a: *b",
        "!!python/object:os.system x",
        "x: 2001-99-99",
        "\0",
        "{[]: 1}",
    ]
    + ["x: " + "[" * 1500, "&a {flow_lm: *a, mimi: *a}", "? {a: b}\n: c", "a: b: c", "\tx: 1"],
)
def test_a_file_that_is_no_config_is_refused_in_lines_that_name_it(text):
    assert all(line and len(line) < 300 for line in errors(text))


def test_an_unknown_model_gets_near_matches():
    with pytest.raises(config.ConfigError, match="'frensh_24l'; did you mean french_24l or "):
        config.get("frensh_24l")
    with pytest.raises(config.ConfigError, match="unknown model 'klingon'; the released ones are"):
        config.get("klingon")


def test_what_a_released_model_is_made_of_cannot_be_spoilt():
    before = copy.deepcopy(released.describe("french"))
    released.describe("french")["mimi"]["seanet"]["ratios"].append(9)
    assert released.describe("french") == before


def test_predefined_voices():
    assert len(released.VOICES) == 27 and all(
        v.startswith("hf://") for v in released.VOICES.values()
    )
    url = released.voice_url("french_24l", "alba")
    assert url.startswith("hf://kyutai/pocket-tts-without-voice-cloning/languages/french_24l/")
    assert url.split("@")[0].endswith("/embeddings/alba.safetensors") and url.count("@") == 1
    with pytest.raises(ValueError, match="unknown voice 'jena'; did you mean jean"):
        released.voice_url("english", "jena")
    with pytest.raises(ValueError, match="unknown voice 'q'; the predefined ones are cosette, "):
        released.voice_url("english", "q")
    with pytest.raises(ValueError, match="unknown model 'englsh'; did you mean english"):
        released.voice_url("englsh", "alba")


def test_every_model_has_a_language_a_voice_and_a_text():
    texts = set()
    for name in released.names():
        assert name.startswith(released.language(name))
        assert released.default_voice(name) in released.VOICES
        texts.add(released.default_text(name))
    assert len(texts) == 7
    assert released.default_voice("german_24l") == "juergen"
    assert released.default_voice(None) == released.VOICES["alba"]
    assert released.default_text(None) == released.default_text("english")
