"""What has been released: 27 models and 27 voices, as plain data.

`describe(name)` is what the model's YAML file says, as a nested dict; only the differences from one
shared base are written down here. Knows nothing of the Config types, of files or of downloads.
"""

import copy
from typing import Any, NamedTuple

from ptts_jax.schema import near

_GATED = "hf://kyutai/pocket-tts/languages"
_PUBLIC_ROOT = "hf://kyutai/pocket-tts-without-voice-cloning"
_PUBLIC = f"{_PUBLIC_ROOT}/languages"
_OCT = "db04f0e653473e5c7333c69686ac92b7460b0c1d"
_OCT_PUBLIC = "a7056f505a4a8ca72d8b5fb1440071d6f1a35739"
_SEP = "983151f13aaeab1b13c1e5e3c2c383d49a9edf3f"
_SEP_PUBLIC = "e7205b6ee50e654a5ea19f0e9df2b0813b05e921"
_EARLY_PUBLIC = "d29db7978e464fb90cb3359ee0c69a273b9142cc"
_LANGUAGES = "3e82814a68665eec246ff649b14c71331f955c06"
_LANGUAGES_PUBLIC = "1e08e6a23401048648a9fdcfde2f89348215c2a7"
_24L = "2dd944b099d06bb9edbd221fef138685711d9bf0"
_24L_PUBLIC = "4e1e0a3e611c51c0b4ed8174fc10f32a54644303"
_ENGLISH_JSON = "tokenizer.json@00eac05ed3d16bdc3f6b5d598874019c34a89214"
_FRENCH_JSON = "tokenizer.json@8843db76457a91db32077edf8dfcd1c0e3e755fd"
_OTHER_JSON = "tokenizer.json@4e1e0a3e611c51c0b4ed8174fc10f32a54644303"
_SMALL_MODEL = "tokenizer.model@08ffc58775e62aad9409511b9591c9af626270f3"

_SEANET = {
    "dimension": 512,
    "channels": 1,
    "n_filters": 64,
    "n_residual_layers": 1,
    "ratios": [6, 5, 4],
    "kernel_size": 7,
    "residual_kernel_size": 3,
    "last_kernel_size": 3,
    "dilation_base": 2,
    "pad_mode": "constant",
    "compress": 2,
}
_CODEC_TRANSFORMER = {
    "d_model": 512,
    "num_heads": 8,
    "num_layers": 2,
    "layer_scale": 0.01,
    "context": 250,
    "dim_feedforward": 2048,
    "input_dimension": 512,
    "output_dimensions": [512],
}
_BASE = {
    "flow_lm": {
        "dtype": "float32",
        "insert_bos_before_voice": True,
        "flow": {"depth": 6, "dim": 512},
        "transformer": {
            "d_model": 1024,
            "hidden_scale": 4,
            "max_period": 10000,
            "num_heads": 16,
            "num_layers": 6,
        },
        "lookup_table": {"dim": 1024, "n_bins": 4000, "tokenizer": "tokenizers"},
    },
    "mimi": {
        "dtype": "float32",
        "sample_rate": 24000,
        "inner_dim": 32,
        "outer_dim": 512,
        "channels": 1,
        "frame_rate": 12.5,
        "seanet": _SEANET,
        "transformer": _CODEC_TRANSFORMER,
        "quantizer": {"dimension": 32, "output_dimension": 512},
    },
}


def _small(
    flow: dict, transformer: dict, rank: int | None, n_filters: int, codec_layers: int
) -> dict[str, Any]:
    """The small English models: a head without time, a narrow backbone, a decoder of their own."""
    codec = {"d_model": 128, "num_heads": 4, "num_layers": codec_layers, "context": 50}
    codec |= {"dim_feedforward": 384, "input_dimension": 128, "output_dimensions": [128]}
    return {
        "default_eos_threshold": -1.0,
        "flow_lm": {
            "flow": flow,
            "transformer": {"hidden_scale": 1, "num_layers": 8} | transformer,
            "z_dim": 64,
            "lookup_table": {
                "dim": transformer["d_model"],
                "rank": rank,
                "tokenizer": "sentencepiece",
            },
        },
        "mimi": {
            "outer_dim": 128,
            "quantizer": {"output_dimension": 128},
            "decoder_seanet": _SEANET
            | {"dimension": 128, "n_filters": n_filters, "kernel_size": 3},
            "decoder_transformer": _CODEC_TRANSFORMER | codec,
        },
    }


_24_LAYERS = {"flow_lm": {"transformer": {"num_layers": 24}}}
_DRIFTING = {"flow_lm": {"flow": {"type": "drifting"}}}
# The first release: a wider projection for voices, nothing before the voice.
_FIRST = {
    "flow_lm": {"insert_bos_before_voice": False},
    "mimi": {"inner_dim": 512},
    "pad_with_spaces_for_short_inputs": True,
}
_18M = _small(
    {"depth": 4, "dim": 192, "type": "drifting"}, {"d_model": 512, "num_heads": 8}, None, 32, 12
)
_7M = _small(
    {"depth": 4, "dim": 192, "type": "drifting"},
    {"d_model": 224, "num_heads": 8, "attn_dim": 512, "num_kv_heads": 2},
    64,
    32,
    12,
)
_2M = _small(
    {"depth": 4, "dim": 64, "type": "pointwise"},
    {"d_model": 112, "num_heads": 3, "attn_dim": 192, "num_kv_heads": 1, "dim_feedforward": 96},
    32,
    24,
    4,
)

_APOSTROPHES = {"’": "'", "‘": "'"}
_NO_QUOTES = dict.fromkeys('"“”„«»', "") | _APOSTROPHES
_NO_BRACKETS = dict.fromkeys("()[]", "")
_DASH = {"–": ","}
_RULES = {
    "english": {"replace_characters": _APOSTROPHES},
    "small": {"replace_characters": {"–": ",", "—": ","} | _APOSTROPHES},
    "french": {
        "replace_characters": _NO_QUOTES | {":": ","} | _NO_BRACKETS | _DASH,
        "remove_semicolons": True,
    },
    "german": {
        "replace_characters": _NO_QUOTES | _NO_BRACKETS | _DASH | {"—": ","},
        "remove_semicolons": True,
    },
    "spanish": {"replace_characters": _NO_QUOTES | _NO_BRACKETS | {"¡": "", "¿": ""} | _DASH},
    "other": {"replace_characters": _NO_QUOTES | _NO_BRACKETS | _DASH},
}


class _Row(NamedTuple):
    gated: str  # revision of the weights with voice cloning
    public: str  # revision of those without
    tokenizer: str  # file@revision
    rules: str = "english"
    shape: dict[str, Any] = {}
    tokenizer_of: str | None = None  # whose folder holds the tokenizer: its own, "" for the top


def _rows_of_language(name: str, tokenizer: str, rules: str = "other") -> dict[str, _Row]:
    return {
        name: _Row(_LANGUAGES, _LANGUAGES_PUBLIC, tokenizer, rules),
        f"{name}_24l": _Row(_24L, _24L_PUBLIC, tokenizer, rules, _24_LAYERS),
    }


def _rows_of_size(size: str, shape: dict[str, Any]) -> dict[str, _Row]:
    row = _Row(_OCT, _OCT_PUBLIC, _SMALL_MODEL, "small", shape)
    return {f"english_{size}_2026-10": row, f"english_{size}_refl_2026-10": row}


_ROWS: dict[str, _Row] = {
    "english": _Row(_OCT, _OCT_PUBLIC, _ENGLISH_JSON),
    "english_2026-01": _Row(
        "39592ff23c9ef80098bb74895d104c26275fe2c9",
        _EARLY_PUBLIC,
        _ENGLISH_JSON,
        shape=_FIRST,
        tokenizer_of="",
    ),
    "english_2026-04": _Row(
        "19f95fe2df36e79fbd9f10008595cc4c977a0fcc", _EARLY_PUBLIC, _ENGLISH_JSON
    ),
    "english_2026-04_24l": _Row(
        "492522650173a0653b7575cdc25ae09810e5d741",
        "e81d79e8194ad4c7ce879c87a4258ef20cbf2487",
        _ENGLISH_JSON,
        shape=_24_LAYERS,
    ),
    "english_2026-09": _Row(_SEP, _SEP_PUBLIC, _ENGLISH_JSON),
    "english_2026-09_2": _Row(
        "7f364c05d1be3faf2b234cdbe4cbb68a026d4218",
        "575d14372df89a4534bcb989870a34e77544b09f",
        _ENGLISH_JSON,
        tokenizer_of="english_2026-09",
    ),
    "english_2026-09_24l": _Row(_SEP, _SEP_PUBLIC, _ENGLISH_JSON, shape=_24_LAYERS),
    "english_2026-10": _Row(_OCT, _OCT_PUBLIC, _ENGLISH_JSON, tokenizer_of="english_2026-09"),
    "english_drifting_26-09": _Row(
        "75cfe24e3142233bb81887fed3482e9652bb4a6e",
        "a5ce31f3eba7a3b0cb9c24ba2015b098f278eaae",
        _ENGLISH_JSON,
        shape=_DRIFTING,
        tokenizer_of="english_2026-09",
    ),
    **_rows_of_size("18m", _18M),
    **_rows_of_size("7m", _7M),
    **_rows_of_size("2m", _2M),
    "french": _Row(_LANGUAGES, _LANGUAGES_PUBLIC, _FRENCH_JSON, "french"),
    "french_24l": _Row(_LANGUAGES, _LANGUAGES_PUBLIC, _FRENCH_JSON, "french", _24_LAYERS),
    **_rows_of_language("german", _OTHER_JSON, "german"),
    "italian": _Row(_LANGUAGES, _LANGUAGES_PUBLIC, _OTHER_JSON, "other"),
    "italian_24l": _Row(_LANGUAGES, _LANGUAGES_PUBLIC, _OTHER_JSON, "other", _24_LAYERS),
    **_rows_of_language("portuguese", _OTHER_JSON),
    **_rows_of_language("spanish", _OTHER_JSON, "spanish"),
    **_rows_of_language("dutch", _OTHER_JSON),
}

_VOICES_REPO = "hf://kyutai/tts-voices"
_POCKET_REPO = "hf://kyutai/pocket-tts"
_POCKET_VOICES = "64ab7d24c479d736a83b8cc666c4a776fca30fda"
VOICES: dict[str, str] = {  # name: the recording behind it
    "cosette": f"{_VOICES_REPO}/expresso/ex04-ex02_confused_001_channel1_499s.wav",
    "marius": f"{_VOICES_REPO}/voice-donations/Selfie.wav",
    "javert": f"{_VOICES_REPO}/voice-donations/Butter.wav",
    "alba": f"{_VOICES_REPO}/alba-mackenna/casual.wav",
    "jean": f"{_VOICES_REPO}/ears/p010/freeform_speech_01_enhanced.wav",
    "anna": f"{_VOICES_REPO}/vctk/p228_023_enhanced.wav",
    "vera": f"{_VOICES_REPO}/vctk/p229_023_enhanced.wav",
    "fantine": f"{_VOICES_REPO}/vctk/p244_023_enhanced.wav",
    "charles": f"{_VOICES_REPO}/vctk/p254_023_enhanced.wav",
    "paul": f"{_VOICES_REPO}/vctk/p259_023_enhanced.wav",
    "eponine": f"{_VOICES_REPO}/vctk/p262_023_enhanced.wav",
    "azelma": f"{_VOICES_REPO}/vctk/p303_023_enhanced.wav",
    "george": f"{_VOICES_REPO}/vctk/p315_023_enhanced.wav",
    "mary": f"{_VOICES_REPO}/vctk/p333_023_enhanced.wav",
    "jane": f"{_VOICES_REPO}/vctk/p339_023_enhanced.wav",
    "michael": f"{_VOICES_REPO}/vctk/p360_023_enhanced.wav",
    "eve": f"{_VOICES_REPO}/vctk/p361_023_enhanced.wav",
    "bill_boerst": f"{_VOICES_REPO}/voice-zero/bill_boerst.wav",
    "peter_yearsley": f"{_VOICES_REPO}/voice-zero/peter_yearsley.wav",
    "stuart_bell": f"{_VOICES_REPO}/voice-zero/stuart_bell.wav",
    "caro_davy": f"{_VOICES_REPO}/voice-zero/caro_davy.wav",
    "giovanni": f"{_POCKET_REPO}/common_voice_it_36520747-enhanced-v2.mp3@{_POCKET_VOICES}",
    "lola": f"{_POCKET_REPO}/common_voice_es_19762977-enhanced-v2.mp3@{_POCKET_VOICES}",
    "juergen": f"{_POCKET_REPO}/de-DE-juergen.mp3@{_POCKET_VOICES}",
    "rafael": f"{_POCKET_REPO}/g-Vi8PgmSY0-enhanced-v2.wav@{_POCKET_VOICES}",
    "daan": f"{_POCKET_REPO}/cml_tts_nl_11290_9412_000030_0001.flac"
    "@2dd944b099d06bb9edbd221fef138685711d9bf0",
    "estelle": f"{_VOICES_REPO}/unmute-prod-website/developpeuse-3.wav"
    "@1fc7395b7e012e2bbebfca14b942a4ef62ccc899",
}

_LANGUAGE_DEFAULTS = {  # language: (voice, a text to say when none is given)
    "english": ("alba", "Good morning! This voice was made on your own computer, word by word."),
    "french": ("estelle", "Bonjour ! Cette voix est née sur votre ordinateur, mot après mot."),
    "german": ("juergen", "Guten Morgen! Diese Stimme entsteht Wort für Wort auf deinem Rechner."),
    "italian": ("giovanni", "Buongiorno! Questa voce nasce sul tuo computer, parola per parola."),
    "portuguese": ("rafael", "Bom dia! Esta voz nasce no seu computador, palavra por palavra."),
    "spanish": ("lola", "¡Buenos días! Esta voz nace en tu ordenador, palabra por palabra."),
    "dutch": ("daan", "Goedemorgen! Deze stem ontstaat woord voor woord op je eigen computer."),
}


def names() -> tuple[str, ...]:
    """The released models, the default one first."""
    return tuple(_ROWS)


def check_model(model: str) -> None:
    """Refuse a name that is not a released model."""
    if model not in _ROWS:
        hint = near(model, _ROWS) or f"; the released ones are {', '.join(_ROWS)}"
        raise ValueError(f"unknown model {model!r}{hint}")


def describe(model: str) -> dict[str, Any]:
    """What the model's YAML file says."""
    check_model(model)
    row = _ROWS[model]
    folder = f"{_PUBLIC}/{model if row.tokenizer_of is None else row.tokenizer_of}"
    tokenizer = f"{_PUBLIC_ROOT if row.tokenizer_of == '' else folder}/{row.tokenizer}"
    described = copy.deepcopy(_BASE)
    own = {
        "weights_path": f"{_GATED}/{model}/model.safetensors@{row.gated}",
        "weights_path_without_voice_cloning": f"{_PUBLIC}/{model}/model.safetensors@{row.public}",
        "flow_lm": {"lookup_table": {"tokenizer_path": tokenizer}},
    }
    for changes in (row.shape, _RULES[row.rules], own):
        _update(described, changes)
    return described


def language(model: str) -> str:
    """The language a released model speaks: `french` for `french_24l`."""
    check_model(model)
    return model.split("_")[0]


def default_voice(model: str | None) -> str:
    """The voice of a user who names none; for a model of one's own (None) a recording to clone,
    since predefined voices are states of the released weights."""
    if model is None:
        return VOICES["alba"]
    return _LANGUAGE_DEFAULTS[language(model)][0]


def default_text(model: str | None) -> str:
    """Something to say, in the model's language."""
    return _LANGUAGE_DEFAULTS["english" if model is None else language(model)][1]


def voice_url(model: str, voice: str) -> str:
    """Where the state of a predefined voice lies, made with that model's weights."""
    check_model(model)
    if voice not in VOICES:
        hint = near(voice, VOICES) or f"; the predefined ones are {', '.join(VOICES)}"
        raise ValueError(f"unknown voice {voice!r}{hint}")
    return f"{_PUBLIC}/{model}/embeddings/{voice}.safetensors@{_OCT_PUBLIC}"


def _update(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Write `changes` over `target`, section by section; characters are replaced as a whole."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _update(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
