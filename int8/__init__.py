"""int8: quantised weights and fast products with them. Knows nothing of any model."""

from int8.ops.conv import conv, elu
from int8.ops.dot import dot
from int8.ops.norm import layer_norm
from int8.ops.vocoder import subframes
from int8.qtensor import QTensor, can_quantize, dequantize, dequantized, exact, quantize, why_not
from int8.runtime.backend import resolve_backend, set_backend

__all__ = [
    "QTensor",
    "can_quantize",
    "conv",
    "dequantize",
    "dequantized",
    "dot",
    "elu",
    "exact",
    "layer_norm",
    "quantize",
    "resolve_backend",
    "set_backend",
    "subframes",
    "why_not",
]
