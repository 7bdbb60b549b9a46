"""A model of a few thousand parameters with every part that a large one has."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ptts_jax.model import codec, config, lm
from ptts_jax.train.codec.shapes import SMALL, transformer

PLAIN = config.Config(
    flow_lm=config.FlowLMConfig(
        dtype="float32",
        flow=config.FlowConfig(dim=16, depth=2),
        transformer=config.TransformerConfig(
            hidden_scale=2, max_period=10000, d_model=32, num_heads=4, num_layers=2
        ),
        lookup_table=config.LookupTable(
            dim=32, n_bins=50, tokenizer="sentencepiece", tokenizer_path="none.model"
        ),
        insert_bos_before_voice=True,
    ),
    mimi=dataclasses.replace(
        SMALL,
        sample_rate=1200,
        seanet=dataclasses.replace(SMALL.seanet, dimension=16, n_filters=4, ratios=(4, 3)),
        transformer=dataclasses.replace(
            transformer(width=16, heads=2, layers=2, context=20, scale=0.5), dim_feedforward=32
        ),
        quantizer=config.QuantizerConfig(dimension=8, output_dimension=16),
        inner_dim=8,
        outer_dim=16,
        decoder_seanet=None,
        decoder_transformer=None,
    ),
)

# Everything at once that PLAIN has not: grouped queries, another attention width, a z projection,
# a low-rank table, a smaller decoder with projections around its transformer, repeated residuals.
RICH = dataclasses.replace(
    PLAIN,
    flow_lm=dataclasses.replace(
        PLAIN.flow_lm,
        flow=config.FlowConfig(dim=16, depth=3, type="flow_matching"),
        transformer=dataclasses.replace(
            PLAIN.flow_lm.transformer, attn_dim=48, num_kv_heads=2, dim_feedforward=40
        ),
        lookup_table=dataclasses.replace(PLAIN.flow_lm.lookup_table, rank=8),
        z_dim=24,
        insert_bos_before_voice=False,
    ),
    mimi=dataclasses.replace(
        PLAIN.mimi,
        decoder_seanet=dataclasses.replace(
            PLAIN.mimi.seanet, n_filters=2, kernel_size=3, n_residual_layers=2
        ),
        decoder_transformer=dataclasses.replace(
            PLAIN.mimi.transformer, d_model=24, num_layers=1, context=9, dim_feedforward=20
        ),
    ),
)


def with_head(base: config.Config, kind: str) -> config.Config:
    flow = dataclasses.replace(base.flow_lm.flow, type=kind)
    return dataclasses.replace(base, flow_lm=dataclasses.replace(base.flow_lm, flow=flow))


@functools.cache
def params(c: config.Config, seed: int = 0) -> dict:
    """Random parameters in which nothing is zero, so that every one of them matters."""
    return _params(c, jax.random.key(seed))


@functools.partial(jax.jit, static_argnums=0)
def _params(c: config.Config, key: jax.Array) -> dict:
    keys = jax.random.split(key, 3)
    frame = jnp.zeros((1, c.mimi.frame_size))
    latent = jnp.zeros((1, 1, c.mimi.latent_dim))
    decoder = codec.Decoder(c.mimi).init(keys[0], latent, codec.decoder_state(c.mimi, 1))
    encoder = codec.Encoder(c.mimi).init(keys[1], frame, codec.encoder_state(c.mimi, 1))
    tree = {
        "lm": lm.init(keys[2], c.flow_lm, c.mimi.latent_dim, c.mimi.voice_dim),
        "codec": {"decoder": decoder["params"], "encoder": encoder["params"]},
    }
    leaves, structure = jax.tree.flatten(tree)
    noise = jax.random.normal(key, (sum(x.size for x in leaves),)) * 0.1
    parts = jnp.split(noise, np.cumsum([x.size for x in leaves])[:-1])
    return jax.tree.unflatten(
        structure, [x + n.reshape(x.shape) for x, n in zip(leaves, parts, strict=True)]
    )
