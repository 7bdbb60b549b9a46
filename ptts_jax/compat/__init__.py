"""A drop-in for pocket-tts 4: `from ptts_jax.compat import TTSModel, export_model_state`.

    model = TTSModel.load_model()
    state = model.get_state_for_audio_prompt("alba")
    audio = model.generate_audio(state, "Hello world!")

Audio and states are torch tensors where torch is installed, and arrays that answer to a tensor's
most used names where it is not.
"""

from ptts_jax.compat.model import TTSModel, export_model_state

__all__ = ["TTSModel", "export_model_state"]
