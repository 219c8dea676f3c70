"""Kernels fitted to maxima, window by window in float64, with NumPy's least squares (arXiv 1412.6806 has the place)."""

import numpy


def windows(x, kernel, stride, padding):
    """Each window of x (N, C, H, W): (N, C, rows, columns, kernel²), zeros beyond the border."""
    images, channels, high, wide = x.shape
    padded = numpy.zeros((images, channels, high + 2 * padding, wide + 2 * padding))
    padded[:, :, padding : padding + high, padding : padding + wide] = x
    rows = range(0, high + 2 * padding - kernel + 1, stride)
    columns = range(0, wide + 2 * padding - kernel + 1, stride)
    return numpy.stack(
        [
            numpy.stack(
                [padded[:, :, r : r + kernel, c : c + kernel].reshape(images, channels, -1) for c in columns],
                2,
            )
            for r in rows
        ],
        2,
    )


def fitted(u, y, ridge, start, biased):
    """The weights, and the bias last, that minimise E (w u + b − y)² + ridge · scale · ‖(w, b) − (start, 0)‖².

    u: (places, d), y: (places,), start: (d,). scale: the mean square of all unknowns' factors.
    """
    if biased:
        u, start = numpy.concatenate([u, numpy.ones((len(u), 1))], 1), numpy.append(start, 0.0)
    weight = numpy.sqrt(ridge * (u**2).mean() * len(u))
    left = numpy.concatenate([u, weight * numpy.eye(u.shape[1])])
    return numpy.linalg.lstsq(left, numpy.concatenate([y, weight * start]), rcond=None)[0]
