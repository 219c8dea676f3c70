"""Variances and gradient cosines written as loops, in float64, one index and one pair at a time."""

from torch import nn


def variance(values):
    """The mean over the indices of one image of the variance over the images; `values` is (N, …)."""
    columns = values.double().flatten(1).T.tolist()
    found = []
    for column in columns:
        mean = sum(column) / len(column)
        found.append(sum((v - mean) ** 2 for v in column) / len(column))
    return sum(found) / len(found)


def deviation(values):
    """The standard deviation of all entries."""
    flat = values.double().flatten().tolist()
    mean = sum(flat) / len(flat)
    return (sum((v - mean) ** 2 for v in flat) / len(flat)) ** 0.5


def gradients(front, rear, images, labels):
    """Each image's gradient of its own loss by what `front` gives, divided by its largest |component| (Table 1)."""
    found = []
    for image, label in zip(images, labels, strict=True):
        h = front(image[None].double()).detach().requires_grad_()
        nn.functional.cross_entropy(rear(h), label[None]).backward()
        flat = h.grad.flatten()
        found.append((flat / flat.abs().max()).tolist())
    return found


def cosine(one, other):
    """Eq. 5 of the paper on adversarial noise."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (sum(a * a for a in one) ** 0.5 * sum(b * b for b in other) ** 0.5)


def similarity(found, labels, one, other):
    """The mean cosine over the pairs of an image of one class and another image of the other."""
    classes = labels.tolist()
    pairs = [
        cosine(found[i], found[j])
        for i in range(len(found))
        for j in range(len(found))
        if i != j and classes[i] == one and classes[j] == other
    ]
    return sum(pairs) / len(pairs)
