"""Rows for the language model: what is in them, and that training sees what generation does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptts_jax import text
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.model import attention, config, head, lm
from ptts_jax.train.lm import alignment, attending, freerun, material, products, rows, tokens
from ptts_jax.train.run import optim
from tests.support import training

VOICES = (2, 5)


@pytest.fixture(autouse=True, scope="module")
def quick():
    yield from training.quick_compilation()


@functools.partial(jax.jit, static_argnums=(1, 4))
def forward(params, c, batch, history, guided=()):
    return rows.forward(params, c, batch, history, guided)


def one_batch(size: int = 4) -> rows.Rows:
    source = training.source()
    bucket = rows.buckets(source.utterances, 1)[0]
    return rows.make(source, bucket, bucket.members[:size], VOICES, np.random.default_rng(0))


def test_tokenizer_reads_capitals_as_small_letters_and_knows_what_the_corpus_lacks():
    made = training.tokenizer()
    assert made.encode("The Cat.") == made.encode("the cat.")
    unknown = made.encode("☃")[-1]
    assert unknown not in made.encode('zebra 1234567890 "quoted", (yes)!?;:\'-')
    again = tokens.parse(made.serialized[1], "file")
    assert again.n_bins == made.n_bins
    with pytest.raises(ValueError, match=r"odd\.model: not a SentencePiece model"):
        tokens.parse(b"nothing", "odd.model")


def test_tokens_are_those_of_generation():
    source, c = training.source(), training.small()
    for own, clip in zip(source.utterances, training.clips(), strict=True):
        (chunk,) = text.chunks(clip.text, training.tokenizer(), c, max_tokens=500)
        assert own.tokens == chunk.tokens


def test_rows_hold_normalised_latents_and_another_clip_of_the_speaker():
    source, batch = training.source(), one_batch()
    bucket = rows.buckets(source.utterances, 1)[0]
    for row, member in enumerate(bucket.members[:4]):
        own = source.utterances[member]
        count = batch.frame_count[row]
        assert count == own.frames
        want = (source.clip(own.clips[0]) - source.mean) / source.std
        np.testing.assert_allclose(batch.latents[row, :count], want, rtol=1e-5)
        assert tuple(batch.tokens[row, : batch.token_count[row]]) == own.tokens
        heard = batch.voice[row, : batch.voice_count[row]]
        assert VOICES[0] <= len(heard) <= VOICES[1]
        speakers = {
            u.speaker
            for u in source.utterances
            if u.clips[0] != own.clips[0]
            and np.array_equal(source.clip(u.clips[0])[: len(heard)], heard)
        }
        assert speakers == {own.speaker}


def test_batches_depend_on_the_step_alone_and_grow_longer():
    source = training.source()
    parts = rows.buckets(source.utterances, 3)
    assert sorted(m for p in parts for m in p.members) == list(range(len(source.utterances)))
    batch = material.batches(source, parts, 4, VOICES, seed=3, curriculum=30)
    jax.tree.map(np.testing.assert_array_equal, batch(7), batch(7))
    assert not np.array_equal(batch(7).latents, batch(8).latents)
    early = {batch(i).latents.shape[1] for i in range(10)}
    late = {batch(i).latents.shape[1] for i in range(30, 70)}
    assert early == {parts[0].frames}
    assert late == {p.frames for p in parts}


@pytest.mark.parametrize("longest", [text.MAX_TOKENS, text.MAX_LETTERS])
def test_short_sentences_are_joined_as_generation_groups_them(longest):
    source = training.source(joined=0.5, longest=longest)
    joined = [u for u in source.utterances if len(u.clips) > 1]
    assert len(joined) == len(training.clips()) // 2
    for own in joined:
        said = [training.clips()[i] for i in own.clips]
        assert {c.speaker for c in said} == {own.speaker}
        assert own.frames == sum(c.length // 96 for c in said)
        together = text.prepare(" ".join(c.text for c in said), config.TextRules()).text
        assert list(own.tokens) == training.tokenizer().encode(together)
    most = max(len(own.tokens) for own in joined)
    assert most <= longest and (most > text.MAX_TOKENS) == (longest > text.MAX_TOKENS)


def test_texts_are_learned_as_they_are_said():
    clips = training.clips()
    clips = [dataclasses.replace(clips[0], text="J. R. Smith met 3 men."), *clips[1:]]
    frames, starts = training.latents(clips)
    rest = (frames.mean(0), frames.std(0), training.tokenizer(), config.TextRules())
    for language, said in {"": "J. R. Smith met 3 men.", "en": "J R Smith met three men."}.items():
        one = material.material(clips, frames, starts, *rest, language=language).utterances[0]
        prepared = text.prepare(said, config.TextRules()).text
        assert list(one.tokens) == training.tokenizer().encode(prepared)


def test_mismatches_of_text_and_audio_are_named():
    clips = training.clips()
    frames, starts = training.latents(clips)
    rest = (frames.mean(0), frames.std(0), training.tokenizer(), config.TextRules())
    with pytest.raises(ValueError, match="latents are of 23 clips and the corpus has 24"):
        material.material(clips, frames, starts[:-1], *rest)
    wrong = (dataclasses.replace(clips[0], text="A far longer text. " * 9), *clips[1:])
    with pytest.raises(ValueError, match="cannot say 'A far longer text.*do not belong together"):
        material.material(wrong, frames, starts, *rest)


@pytest.mark.parametrize("bf16", [False, True])
def test_whole_rows_are_what_the_cache_of_generation_gives(bf16):
    """Each row by itself, unpadded, through a cache; and the training's products alike."""
    c = training.small().flow_lm
    params, batch = training.fresh(training.small().flow_lm)["lm"], one_batch()

    @jax.jit
    def trained(batch):
        with products.fast(bf16):
            return rows.forward(params, c, batch, batch.latents, (0, 1))

    z, maps = trained(batch)
    alone = jax.jit(lm.backbone, static_argnums=1)
    for row in range(1 if bf16 else 2):
        counts = batch.voice_count[row], batch.token_count[row], batch.frame_count[row]
        x = [
            lm.embed_voice(params, c, batch.voice[row : row + 1, : counts[0]]),
            lm.embed_text(params, c, batch.tokens[row : row + 1, : counts[1]]),
            lm.embed_latent(params, params["bos"][None, None]),
            lm.embed_latent(params, batch.latents[row : row + 1, : counts[2]]),
        ]
        x = jnp.concatenate(x, axis=1)
        cache = lm.new_cache(c, 1, x.shape[1] + 3)
        want, cache = alone(params, c, x, cache, jnp.arange(x.shape[1])[None])
        assert int(cache.positions[0]) == x.shape[1]
        want = want[0, -counts[2] - 1 :]
        close = {"rtol": 0.05, "atol": 0.1} if bf16 else {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(z[row, : counts[2] + 1], want, **close)
    for m in maps:
        assert m.shape == (4, 2, batch.latents.shape[1], batch.tokens.shape[1])
        assert float(m.sum(-1).max()) <= 1 + 1e-5
        assert float(m[0, :, : batch.frame_count[0], batch.token_count[0] :].max(initial=0)) == 0


def test_speaking_freely_is_the_forward_pass_of_training():
    """The latents that generation makes, fed as the history, give the same latents again."""
    c = training.small()
    params, source = training.fresh(c.flow_lm)["lm"], training.source()
    own = source.utterances[:2]
    prompts = [source.clip(u.clips[0])[:n] for u, n in zip(own, (3, 5), strict=True)]
    sampling = Sampling(temperature=0.0, eos_threshold=1e9)
    jobs = [Job(u.tokens, 2, 10 + i, seed=i, sampling=sampling) for i, u in enumerate(own)]
    spoken = freerun.speak(params, c, prompts, jobs)
    assert [len(s.latents) for s in spoken] == [10, 11]
    assert not any(s.ended for s in spoken)
    for prompt, job, one in zip(prompts, jobs, spoken, strict=True):
        batch = rows.Rows(
            prompt[None],
            np.array([len(prompt)]),
            np.array([job.tokens]),
            np.array([len(job.tokens)]),
            one.latents[None],
            np.array([len(one.latents)]),
        )
        z, _ = forward(params, c.flow_lm, batch, batch.latents)
        times = head.schedule(params["head"], c.flow_lm.flow, 1)
        noise = jnp.zeros((len(one.latents), c.mimi.latent_dim))
        again = head.sample(params["head"], c.flow_lm.flow, z[0, :-1], noise, times)
        np.testing.assert_allclose(again, one.latents, rtol=1e-3, atol=1e-3)


def test_free_durations_tell_of_ends_that_never_come():
    c = training.small()
    source = training.source()
    params = training.fresh(c.flow_lm)["lm"]
    found = {}
    for name, logit in (("never", -50.0), ("at once", 50.0)):
        bias = {"w": params["eos"]["w"] * 0, "b": jnp.full(1, logit)}
        own = {**params, "eos": bias}
        args = (own, c, source, range(4), 3, 2, Sampling(eos_threshold=-1.0))
        found[name] = freerun.durations(*args)
    assert found["never"]["no_eos"] == found["never"]["wrong_length"] == 1
    assert found["at once"]["no_eos"] == 0
    longest = max(u.frames for u in source.utterances[:4])
    ratios = [8 / u.frames for u in source.utterances[:4]]  # 6 frames before an end counts, 2 after
    np.testing.assert_allclose(found["at once"]["duration_ratio"], np.median(ratios), rtol=1e-5)
    ratios = [int(2.5 * longest) / u.frames for u in source.utterances[:4]]
    np.testing.assert_allclose(found["never"]["duration_ratio"], np.median(ratios), rtol=1e-5)


def test_dropped_text_and_voice_are_as_if_they_had_not_been_there():
    c = training.small().flow_lm
    params, batch = training.fresh(training.small().flow_lm)["lm"], one_batch()
    yes, no = jnp.ones(4, bool), jnp.zeros(4, bool)
    dropped, _ = forward(params, c, rows.drop(batch, yes, no), batch.latents)
    other = batch.replace(tokens=(batch.tokens + 3) % 20)
    same, _ = forward(params, c, rows.drop(other, yes, no), batch.latents)
    np.testing.assert_array_equal(dropped[0, :3], same[0, :3])
    silent, _ = forward(params, c, rows.drop(batch, no, yes), batch.latents)
    alone = batch.replace(voice=batch.voice + 1.0, voice_count=batch.voice_count * 0)
    want, _ = forward(params, c, alone, batch.latents)
    np.testing.assert_allclose(silent[0, :3], want[0, :3], rtol=1e-4, atol=1e-5)


def test_noisy_history_mixes_and_drops():
    key, x = jax.random.key(0), jnp.full((200, 50, 4), 3.0)
    np.testing.assert_allclose(rows.noisy_history(key, x, 0.0, 0.0), x, rtol=1e-6)
    made = np.asarray(rows.noisy_history(key, x, 0.25, 0.1))
    dropped = (made == 0).all(-1)
    assert abs(dropped.mean() - 0.1) < 0.01
    kept = made[~dropped]
    k = np.linspace(0, 0.25, 1001)
    np.testing.assert_allclose(kept.mean(), 3 * np.sqrt(1 - k).mean(), atol=0.02)
    within = np.mean(k) + 9 * np.var(np.sqrt(1 - k))
    np.testing.assert_allclose(kept.var(), within, atol=0.02)


def test_guide_by_loops():
    rng = np.random.default_rng(0)
    maps = tuple(rng.uniform(0, 0.2, size=(2, 2, 4, 5)).astype(np.float32) for _ in range(2))
    tokens_, frames = [5, 3], [4, 2]
    total, count = 0.0, 0
    for row in range(2):
        for t in range(frames[row]):
            for m in maps:
                for h in range(2):
                    near = 0.0
                    for n in range(5):
                        off = (n + 0.5) / tokens_[row] - t / frames[row]
                        near += m[row, h, t, n] * np.exp(-0.5 * (off / 0.15) ** 2)
                    total, count = total + 1 - near, count + 1
    got = alignment.guide(maps, jnp.array(tokens_), jnp.array(frames), 0.15)
    np.testing.assert_allclose(got, total / count, rtol=1e-5)
    assert alignment.guide(maps, jnp.array([0, 0]), jnp.array(frames), 0.15) == 0


def test_frozen_parts_stay_and_have_no_state():
    import optax

    params = {"a": {"w": jnp.ones(2)}, "b": {"w": jnp.ones(2)}}
    tx = optim.frozen(optax.adam(0.1), ("a/",))
    state = tx.init(params)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 5  # a count, two moments
    updates, _ = tx.update(params, state, params)
    assert not np.any(updates["a"]["w"])
    assert np.all(updates["b"]["w"] < 0)
    with pytest.raises(ValueError, match="no parameter matches 'c/'; there is a/w"):
        optim.labels(params, ("c/",))


@pytest.mark.parametrize("groups", [4, 2])
def test_attention_to_train_with_is_the_models_own(groups):
    """Its numbers and its gradients, with padding and with keys that heads share."""
    keys = jax.random.split(jax.random.key(3), 4)
    q = jax.random.normal(keys[0], (2, 5, 4, 8))
    k, v = (jax.random.normal(key, (2, 5, groups, 8)) for key in keys[1:3])
    positions = jnp.array([[0, 1, -1, 2, 3], [0, 1, 2, -1, -1]])
    mask = attention.visible(positions, positions)
    pull = jax.random.normal(keys[3], q.shape) * (positions >= 0)[..., None, None]

    def pulled(attend):
        return jax.value_and_grad(lambda *x: jnp.sum(pull * attend(*x)), argnums=(0, 1, 2))(q, k, v)

    got = pulled(lambda q, k, v: attending.attend(q, k, v, mask))
    by_head = attention.by_head
    wanted = pulled(lambda q, k, v: attention.attend(q, by_head(k), by_head(v), mask))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
