"""int8: quantised weights and fast products with them. Knows nothing of any model."""

from int8.backend import resolve_backend, set_backend
from int8.conv import conv, elu
from int8.dot import dot
from int8.norm import layer_norm
from int8.qtensor import QTensor, can_quantize, dequantize, quantize, why_not

__all__ = [
    "QTensor",
    "can_quantize",
    "conv",
    "dequantize",
    "dot",
    "elu",
    "layer_norm",
    "quantize",
    "resolve_backend",
    "set_backend",
    "why_not",
]
