"""The weight map layer written as loops from eq. 1-4 of its paper, in float64, one output at a time."""

import torch


def weight_map(x, weight, bias, kernel, stride, before, after, dilation, groups, mode, normalize):
    """`kernel`, `stride`, `before`, `after` (zeros) and `dilation` are (height, width) pairs."""
    x, weight = x.double(), weight.double()
    n_batch, _, height, width = x.shape
    c_out, per_group = weight.shape[:2]
    k = 1.0 / (kernel[0] * kernel[1]) if normalize else 1.0
    sides = []
    for i, size in enumerate((height, width)):
        span = dilation[i] * (kernel[i] - 1) + 1
        sides.append((size + before[i] + after[i] - span) // stride[i] + 1)
    out = torch.zeros(n_batch, c_out, *sides, dtype=torch.float64)
    for n in range(n_batch):
        for co in range(c_out):
            group = co // (c_out // groups)
            for cj in range(per_group):
                m = weight[co, cj] * x[n, group * per_group + cj]  # eq. 1
                for i in range(sides[0]):
                    for j in range(sides[1]):
                        total = 0.0
                        for a in range(kernel[0]):
                            for b in range(kernel[1]):
                                r = i * stride[0] - before[0] + a * dilation[0]
                                c = j * stride[1] - before[1] + b * dilation[1]
                                if 0 <= r < height and 0 <= c < width:
                                    total += k * m[r, c].item()
                        if mode == "smoothing":
                            out[n, co, i, j] += total  # eq. 2
                        else:
                            r = i * stride[0] - before[0] + dilation[0] * (kernel[0] - 1) // 2
                            c = j * stride[1] - before[1] + dilation[1] * (kernel[1] - 1) // 2
                            here = m[r, c].item() if 0 <= r < height and 0 <= c < width else 0.0
                            out[n, co, i, j] += 2 * here - total  # eq. 3, 4
    return out if bias is None else out + bias.double()
