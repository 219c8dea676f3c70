"""What the value of a buffer of one number is, asked at each call without making a device wait at each call."""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.tensors.recording import recording
from surgeon.torch_private import dispatch_modes, is_functorch_wrapped_tensor

_PLAIN = (Tensor, nn.Parameter)


class KnownValue:
    """The value of a buffer that any code may write to, as far as it is known without waiting for its device.

    On a CPU it is read. Elsewhere it is kept while the buffer is the same and was not written, and read when a second call finds it so:
    a buffer that is written before each call, as DistributedDataParallel does, is never waited for.
    """

    def __init__(self, value: float) -> None:
        self.last = value
        """What it was when it was last known."""
        self._seen: tuple[Tensor, int] | None = None
        self._read = False

    def set(self, buffer: Tensor, value: float) -> None:
        """Say what was just written to the buffer."""
        self.last, self._seen, self._read = value, _state(buffer), True

    def of(self, buffer: Tensor) -> float | None:
        """The value; None where it is not known: any value then has to come out right, and its gradient where it has one."""
        if recording() or buffer.requires_grad or is_functorch_wrapped_tensor(buffer):
            return None
        if type(buffer) not in _PLAIN or buffer.is_meta:  # a fake one, of which nothing but shapes is asked
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
    return None if buffer.is_inference() else (buffer, buffer._version)
