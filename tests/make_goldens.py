"""python -m tests.make_goldens: what the reference makes of the golden weights, as small files.

Needs the reference. The files let the ladder of test_goldens.py run where it is not installed.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import increment_steps, init_states

from convert import to_reference
from ptts_jax.model import config
from tests.support import architectures, golden_weights, oracle, tokens
from tests.support.prompts import prompt_audio

FOLDER = Path(__file__).parent / "goldens"
TOKENS = [5, 17, 99, 23, 451, 8, 77, 300, 12, 61, 5]
FRAMES = 12


@torch.no_grad()
def make(name: str, folder: Path) -> None:
    described = architectures.TINY[name]()
    table = described["flow_lm"]["lookup_table"]
    table["tokenizer"] = "sentencepiece"
    table["tokenizer_path"] = str(tokens.write_sentencepiece(folder / "t.model", table["n_bins"]))
    described["weights_path"] = None
    file = folder / "model.yaml"
    file.write_text(yaml.safe_dump(described))
    model = TTSModel.load_model(config=str(file), temp=0.0)
    table["tokenizer_path"] = "none.model"
    text = yaml.safe_dump(described)
    tree = golden_weights.params(config.parse(text, name))
    model.load_state_dict({k: torch.tensor(v) for k, v in to_reference(tree).items()}, strict=True)

    noise = np.random.default_rng(0).standard_normal((FRAMES, model.flow_lm.ldim), np.float32)
    wave = torch.tensor(prompt_audio(0.5))[None]
    prompt = model._encode_audio(wave[None])
    voice = init_states(model.flow_lm, 1, prompt.shape[1])
    model._run_flow_lm(voice, torch.zeros(1, 0, dtype=torch.long), noise_free(model), prompt)
    increment_steps(model.flow_lm, voice, prompt.shape[1])
    latents, logits = oracle.rollout(
        model, torch.tensor([TOKENS]), FRAMES, voice=voice, noise=noise
    )
    last = described["flow_lm"]["transformer"]["num_layers"] - 1
    np.savez_compressed(
        FOLDER / f"{name}.npz",
        config=np.array(text),
        encoded=prompt.numpy(),
        voice=voice[f"transformer.layers.{last}.self_attn"]["cache"].numpy(),
        latents=latents,
        logits=logits,
        wave=oracle.decode(model, latents[:3], 1),
    )


def noise_free(model: TTSModel) -> torch.Tensor:
    """No latents: only the prompt is read."""
    return torch.zeros(1, 0, model.flow_lm.ldim)


if __name__ == "__main__":
    for architecture in architectures.TINY:
        with tempfile.TemporaryDirectory() as scratch:
            make(architecture, Path(scratch))
