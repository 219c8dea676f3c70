"""Read the value of a one-number buffer at each call, without a device synchronisation at each call."""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.tensors.recording import recording
from surgeon.torch_private import dispatch_modes, is_functorch_wrapped_tensor

_PLAIN = (Tensor, nn.Parameter)


class KnownValue:
    """The value of a buffer that any code may write to, as far as it is known without waiting for its device.

    On a CPU the buffer is read. On other devices the value is cached as long as the buffer is the same and
    was not written; it is read only if a second call finds it unchanged. So a buffer that is written before
    every call, as DistributedDataParallel does, never causes a wait.

    Args:
        value: The value that the buffer starts with.
    """

    def __init__(self, value: float) -> None:
        self.last = value
        """The value when it was last known."""
        self._seen: tuple[Tensor, int] | None = None
        self._read = False

    def set(self, buffer: Tensor, value: float) -> None:
        """Record what was just written to the buffer.

        Args:
            buffer: The buffer.
            value: What was written.
        """
        self.last, self._seen, self._read = value, _state(buffer), True

    def of(self, buffer: Tensor) -> float | None:
        """Return the value, if it is known without waiting.

        Args:
            buffer: The buffer, with one number.

        Returns:
            The value. None if it is not known; code must then be correct, with gradients, for any value.
        """
        if recording() or buffer.requires_grad or is_functorch_wrapped_tensor(buffer):
            return None
        if type(buffer) not in _PLAIN or buffer.is_meta:  # fake tensors: only shapes matter
            return self.last
        if dispatch_modes():
            return None
        if buffer.is_cpu:
            self.last = buffer.item()
            return self.last
        now, before = _state(buffer), self._seen
        same = now is not None and before is not None and now[0] is before[0] and now[1] == before[1]
        if not same:
            self._seen, self._read = now, False
            return None
        if not self._read:
            self.last, self._read = buffer.item(), True
        return self.last

    def __deepcopy__(self, memo: dict) -> KnownValue:
        return KnownValue(self.last)

    def __reduce__(self) -> tuple:
        return (KnownValue, (self.last,))


def _state(buffer: Tensor) -> tuple[Tensor, int] | None:
    """Return the buffer and its version counter, or None for inference tensors, which have no counter."""
    return None if buffer.is_inference() else (buffer, buffer._version)
