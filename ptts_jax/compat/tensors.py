"""What callers of the original hold in their hands: torch tensors, or arrays that act like them."""

import importlib.util
import secrets
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np


class Tensor(np.ndarray):
    """A numpy array with the methods of a tensor that callers of a speech model use."""

    @property
    def device(self) -> "Device":  # type: ignore[override]
        return Device()

    def numpy(self) -> np.ndarray:
        return self.view(np.ndarray)

    def cpu(self) -> "Tensor":
        return self

    def detach(self) -> "Tensor":
        return self

    def contiguous(self) -> "Tensor":
        return np.ascontiguousarray(self).view(Tensor)

    def clone(self) -> "Tensor":
        return self.copy()

    def float(self) -> "Tensor":
        return self.astype(np.float32)

    def to(self, *_: Any, **__: Any) -> "Tensor":
        """Itself: there is one place to be, and audio is float32."""
        return self

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return self.size

    def unsqueeze(self, dim: int) -> "Tensor":
        return np.expand_dims(self, dim).view(Tensor)

    def squeeze(self, dim: int | None = None) -> "Tensor":  # type: ignore[override]
        if dim is not None and self.shape[dim] != 1:
            return self  # as a tensor; an array would refuse
        return super().squeeze(dim)

    def abs(self) -> "Tensor":
        return np.abs(self)

    def clamp(self, min: Any = None, max: Any = None) -> "Tensor":
        return self.clip(min, max)


@dataclass(frozen=True)
class Device:
    """Where a tensor is; its text is the device's name."""

    type: str = "cpu"
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"


def has_torch() -> bool:
    return "torch" in sys.modules or importlib.util.find_spec("torch") is not None


def tensor(x: np.ndarray) -> Any:
    """An array as a tensor that shares its memory."""
    if has_torch():
        import torch

        return torch.from_numpy(x)
    return x.view(Tensor)


def array(x: Any) -> np.ndarray:
    """A tensor of either kind as an array."""
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def device() -> Any:
    """The device that the tensors are on."""
    if has_torch():
        import torch

        return torch.device("cpu")
    return Device()


def seed() -> int:
    """A fresh seed; `torch.manual_seed` makes it repeatable, as callers of the original expect."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].randint(2**62, ()))
    return secrets.randbits(62)
