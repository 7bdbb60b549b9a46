"""The reference's own `serve`, as a plain script: this process must not import ours.

peer.py YAML VOICE PORT int8|f32. Speaks until the limit that follows from the token count, whatever
its EOS says: the same number of frames as ours.
"""

import functools
import logging
import sys
import warnings

NEVER = 1e9  # a threshold that no EOS logit passes


def main(yaml: str, voice: str, port: str, weights: str) -> None:
    # With torchao installed the reference takes it, and is slower: hidden, it takes torch.ao.
    sys.modules["torchao"] = None  # type: ignore[assignment]
    from pocket_tts import TTSModel
    from pocket_tts import main as reference

    logging.disable()  # it warns of every utterance that EOS did not end
    warnings.simplefilter("ignore")
    TTSModel.load_model = functools.partial(TTSModel.load_model, eos_threshold=NEVER)
    how = {"host": "127.0.0.1", "reload": False, "language": None}
    quantize = weights == "int8"
    reference.serve(port=int(port), config=yaml, default_voice=voice, quantize=quantize, **how)


if __name__ == "__main__":
    main(*sys.argv[1:])
