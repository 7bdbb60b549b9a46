"""A model of a few thousand parameters with every part that a large one has."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ptts_jax import codec, config, lm

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
    mimi=config.MimiConfig(
        dtype="float32",
        sample_rate=1200,
        channels=1,
        frame_rate=12.5,
        seanet=config.SEANetConfig(
            dimension=16,
            channels=1,
            n_filters=4,
            n_residual_layers=1,
            ratios=(4, 3),
            kernel_size=7,
            residual_kernel_size=3,
            last_kernel_size=3,
            dilation_base=2,
            pad_mode="constant",
            compress=2,
        ),
        transformer=config.CodecTransformerConfig(
            d_model=16,
            input_dimension=16,
            output_dimensions=(16,),
            num_heads=2,
            num_layers=2,
            layer_scale=0.5,
            context=20,
            dim_feedforward=32,
        ),
        quantizer=config.QuantizerConfig(dimension=8, output_dimension=16),
        inner_dim=8,
        outer_dim=16,
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
