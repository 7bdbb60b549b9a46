"""The ladder: every stage against the reference's own inference path, for every architecture.

The reference writes the files (random weights, its own layout), both load them. Tiny models go
through all rungs; full-size ones prove that nothing depends on the size, those that are released in
the format of the released files.
"""

import threading
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import torch

import ptts_jax
from ptts_jax.engine import loops, voices
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.model import generate, lm
from ptts_jax.model.codec import decoder_state
from tests.support import architectures, oracle
from tests.support.oracle_files import halve, write_voice
from tests.support.prompts import prompt_audio

TEXT = (
    "The river was wide, and nobody knew how deep it ran in spring. Three boats came down that "
    "morning! Was it 3.14 miles, or more? The oldest of the men said nothing at all about it; he "
    "looked at the water and waited."
)
TINY = [("tiny", name) for name in architectures.TINY]
FULL = [("full", name) for name in architectures.FULL]


def models(*chosen: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", chosen, indirect=True, scope="module", ids="-".join)


every_size = models(*TINY, *FULL)
tiny_only = models(*TINY)  # where the size plays no part


@pytest.fixture(scope="module")
def pair(request, tmp_path_factory):
    """The reference and ours from the same files, a voice prompt, and the voice both made of it."""
    size, name = request.param
    folder = tmp_path_factory.mktemp(name)
    seed = 3 if name == "odd" else 7  # one whose recurrence does not amplify rounding
    made = oracle.build(
        name, seed, folder, size=size, tokenizer="model" if size == "full" else "json"
    )
    if size == "full" and name.startswith("english"):
        halve(made)
    reference = made.load(temp=0.0, sampler_decode_steps=_steps(name))
    patch = pytest.MonkeyPatch()
    patch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
    ours = ptts_jax.load(made.yaml)
    patch.undo()
    prompt = folder / "prompt.wav"
    soundfile.write(prompt, prompt_audio(3.3, rate=16000), 16000)
    yield SimpleNamespace(
        name=name,
        folder=folder,
        prompt=prompt,
        reference=reference,
        ours=ours,
        steps=_steps(name),
        state=reference.get_state_for_audio_prompt(prompt),
        voice=ours.voice(prompt),
    )
    for file in made.folder.glob("**/*.safetensors"):  # a full-size model is half a gigabyte
        file.unlink()


def _steps(name: str) -> int:
    return {"flow_matching": 16, "english_24l": 2}.get(name, 1)


def snr(want: np.ndarray, got: np.ndarray) -> float:
    want, got = np.asarray(want, np.float64), np.asarray(got, np.float64)
    assert want.shape == got.shape
    assert np.square(want).mean() > 1e-10, "the reference is silent: nothing is proved"
    return float(10 * np.log10(np.square(want).sum() / max(np.square(want - got).sum(), 1e-300)))


def close(got: np.ndarray, want: np.ndarray, tol: float = 1e-4) -> None:
    """Within `tol` of the reference's scale."""
    assert np.asarray(got).shape == np.asarray(want).shape
    assert np.std(want) > 1e-3, "the reference is constant: nothing is proved"
    np.testing.assert_allclose(got, want, atol=tol * float(np.abs(want).max()), rtol=0)


def _tokens(pair) -> torch.Tensor:
    return pair.reference.flow_lm.conditioner.prepare(
        "A voice is a small thing, and yet it carries."
    )


@every_size
@torch.no_grad()
def test_prefill_hidden_states(pair):
    model, tokens = pair.reference.flow_lm, _tokens(pair)
    x = model.conditioner(tokens)
    empty = torch.zeros(1, 0, model.ldim)
    state = oracle.init_states(model, 1, tokens.shape[1])
    want = model.backbone(empty @ model.input_linear.weight.T, x, empty, state).numpy()

    c, params = pair.ours.config.flow_lm, pair.ours.params["lm"]
    count = tokens.shape[1]
    padded = jnp.pad(jnp.asarray(tokens.numpy(), jnp.int32), ((0, 0), (0, 64 - count)))
    positions = jnp.where(jnp.arange(64) < count, jnp.arange(64), -1)[None]
    x = lm.embed_text(params, c, padded)
    got, _ = lm.backbone(params, c, x, lm.new_cache(c, 1, 128), positions)
    close(got[:, :count], want)


@every_size
@pytest.mark.parametrize("std", [0.0, 0.6])
def test_latents_and_eos_logits(pair, std):
    c = pair.ours.config
    noise = std * np.random.default_rng(1).standard_normal((24, c.mimi.latent_dim), np.float32)
    tokens = _tokens(pair)
    latents, logits = oracle.rollout(
        pair.reference, tokens, len(noise), voice=pair.state, noise=noise
    )
    sampling = Sampling(0.0, pair.steps, None, np.inf)
    job = Job(tokens[0].tolist(), 0, len(noise), sampling=sampling)
    cache = loops.opened(pair.ours.params, c, [pair.voice], [job])
    state = loops.start(pair.ours.params, c, cache, [job])
    frames = []
    for row in noise:
        state, frame = generate.step(pair.ours.params, c, state, row[None])
        frames.append(frame)
    close(np.concatenate([f.latent for f in frames]), latents)
    close(np.concatenate([f.eos_logit for f in frames]), logits, tol=3e-4)


@every_size
@pytest.mark.parametrize("block", [1, 4])
def test_decoder_frame_by_frame_and_in_blocks(pair, block):
    c = pair.ours.config
    latents = np.random.default_rng(2).standard_normal((24, c.mimi.latent_dim), np.float32)
    want = oracle.decode(pair.reference, latents, block)
    state, waves = decoder_state(c.mimi, 1), []
    for at in range(0, len(latents), block):
        state, wave = generate.decode(pair.ours.params, c, state, latents[None, at : at + block])
        waves.append(wave[0])
    assert snr(want, np.concatenate(waves)) > 80


@every_size
@torch.no_grad()
def test_encoder_latents(pair):
    wave = prompt_audio(1.7, seed=1)
    want = pair.reference._encode_audio(torch.tensor(wave)[None, None]).numpy()
    c, params = pair.ours.config, pair.ours.params
    got = voices.encode(params, c, wave)
    close(np.asarray(got) @ np.asarray(params["lm"]["speaker"]["w"]).T, want)


@every_size
def test_voice_states(pair):
    """Made from the same file at another rate; resampled, trimmed, encoded, read by the LM."""
    for i, (k, v) in enumerate(zip(pair.voice.k, pair.voice.v, strict=True)):
        cache = pair.state[f"transformer.layers.{i}.self_attn"]["cache"].numpy()
        close(k, cache[0, 0].transpose(1, 0, 2))
        close(v, cache[1, 0].transpose(1, 0, 2))


@tiny_only
@pytest.mark.parametrize("old", [False, True], ids=["today", "current_end"])
def test_the_references_voice_files_work_here(pair, old):
    path = pair.folder / f"theirs-{old}.safetensors"
    state = write_voice(pair.reference, path, seconds=1.5, old=old)
    want = pair.reference.generate_audio(state, "One small step.").numpy()
    got = pair.ours.generate("One small step.", path, temperature=0.0, steps=pair.steps)
    assert snr(want, got) > 70


@tiny_only
def test_our_voice_files_work_there(pair):
    path = pair.folder / "ours.safetensors"
    pair.voice.save(path)
    state = pair.reference.get_state_for_audio_prompt(path)
    want = pair.reference.generate_audio(pair.state, "One small step.").numpy()
    assert snr(want, pair.reference.generate_audio(state, "One small step.").numpy()) > 70


@every_size
def test_whole_utterance_at_temperature_zero(pair):
    want = pair.reference.generate_audio(pair.state, TEXT).numpy()
    options = {"temperature": 0.0, "steps": pair.steps}
    got = pair.ours.generate(TEXT, pair.voice, **options)
    assert snr(want, got) > 70
    (batched,) = pair.ours.generate_batch([TEXT], pair.voice, **options)
    assert snr(want, batched) > 70


@tiny_only
def test_a_stop_event_ends_the_work(pair):
    stop = threading.Event()
    blocks = pair.ours.stream(TEXT, pair.voice, stop=stop, seed=0)
    next(blocks)
    stop.set()
    assert len(list(blocks)) <= 1
