"""What options change of how a model speaks: one that does not look at noise speaks in one way."""

import numpy as np

from ptts_jax.engine.checks import AGAIN_ALIKE, AGAIN_VARIED, OTHERWISE, Checked, Trying
from ptts_jax.engine.request import Options
from ptts_jax.model.config import Config
from ptts_jax.model.ear import Ear
from ptts_jax.model.pytree import Params


def looks_at_noise(params: Params, config: Config) -> bool:
    """Whether a model can say a text in more than one way."""
    kind = config.flow_lm.flow.type
    # NumPy's answer: JAX's own would be a function to trace and compile.
    return kind != "drifting" or bool(np.any(np.asarray(params["lm"]["head"]["net"]["input"]["w"])))


def varies(params: Params, config: Config, options: Options) -> bool:
    """Whether another seed changes how a text is said with these options."""
    return options.sampling(config).temperature > 0 and looks_at_noise(params, config)


def missing(params: Params, config: Config, options: Options) -> list[str]:
    """Names of the options given that change nothing."""
    inert = [] if config.flow_lm.flow.num_times else ["steps"]
    if not looks_at_noise(params, config):
        inert += ["seed", "temperature", "noise_clamp", "best_of"]
    elif (options.best_of or 1) > 1 and not varies(params, config, options):
        inert += ["best_of"]
    return [name for name in inert if getattr(options, name) is not None]


def trying(
    params: Params,
    config: Config,
    options: Options,
    checks: list[Checked] | None,
    ear: Ear | None = None,
) -> Trying | None:
    """How often chunks may be said; None where once is all and nobody is to be told."""
    varied, at_once = varies(params, config, options), options.best_of or 1
    if checks is None and not (varied and at_once > 1):
        return None
    again = AGAIN_VARIED if varied else AGAIN_ALIKE
    told = ([], ()) if checks is None else (checks, again)
    otherwise = OTHERWISE if ear and not varied and looks_at_noise(params, config) else 0
    return Trying(told[0], at_once if varied else 1, told[1], ear, otherwise)
