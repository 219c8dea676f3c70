"""Weight map layers of many settings, and what the equations say of each."""

from surgeon.methods.weight_map.module import WeightMap2d
from tests.reference import weight_map as reference

# in, out, (H, W), kernel, stride, padding, dilation, groups
CASES = [
    (2, 3, (5, 6), 3, 1, 1, 1, 1),
    (2, 3, (5, 6), 3, 1, 0, 1, 1),
    (4, 6, (6, 5), 3, 2, 1, 1, 2),
    (3, 3, (7, 7), 3, 2, 1, 1, 3),
    (3, 6, (5, 5), 3, 1, 1, 1, 3),
    (8, 4, (4, 4), 3, 1, 1, 1, 4),
    (1, 1, (4, 4), 1, 1, 0, 1, 1),
    (2, 2, (6, 6), 1, 2, 0, 1, 1),
    (2, 2, (7, 6), 2, 1, 0, 1, 1),
    (2, 2, (7, 6), 4, 2, 1, 1, 1),
    (2, 2, (9, 8), 3, 2, 2, 2, 1),
    (2, 2, (4, 5), 3, 3, 3, 1, 1),
    (2, 2, (4, 4), 7, 2, 3, 1, 1),
    (2, 2, (6, 7), (3, 1), (2, 1), (1, 0), 1, 1),
    (2, 2, (6, 7), (1, 5), (1, 2), (0, 2), (1, 1), 1),
    (2, 2, (6, 7), (3, 2), 1, (2, 1), (2, 3), 2),
    (2, 2, (5, 6), 3, 1, "same", 1, 1),
    (2, 2, (5, 6), 4, 1, "same", 1, 1),
    (2, 2, (5, 6), (2, 3), 1, "same", (3, 2), 1),
    (2, 2, (5, 6), 3, 2, "valid", 1, 1),
]


def as_pair(value):
    return (value, value) if isinstance(value, int) else value


def zeros_around(padding, kernel, dilation):
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    both = (0, 0) if padding == "valid" else as_pair(padding)
    return both, both


def written_out(layer, x):
    kernel, stride, dilation = as_pair(layer.kernel_size), as_pair(layer.stride), as_pair(layer.dilation)
    before, after = zeros_around(layer.padding, kernel, dilation)
    return reference.weight_map(
        x,
        layer.by_channels(),
        layer.bias,
        kernel,
        stride,
        before,
        after,
        dilation,
        layer.groups,
        layer.mode,
        layer.normalize,
    )


def make(case, **kwargs):
    c_in, c_out, size, kernel, stride, padding, dilation, groups = case
    return WeightMap2d(c_in, c_out, size, kernel, stride, padding, dilation, groups, **kwargs)
