"""Auto-PGD in L1 (Croce & Hein 2021), one image at a time in float64: sparse steps, in three phases of falling ε.

What is drawn is drawn in adv-lib's order. Its count of changed pixels takes a pixel that went and came back for
changed where rounding has left a trace, and its steps are kept in float32; both decide which pixels move, so sums
are taken in its order here.
"""

import math

import torch

FIRST_SHARE, STEP_LESS, STEP_LEAST, SPARSER = 0.2, 1.5, 10.0, 0.95
"""Share of the pixels of the first step, by what steps and shares shrink, the shortest step's share of ε, and by how
much fewer pixels the steps begin anew."""


def onto(image, delta, eps):
    """What added to `delta` gives the nearest change within [0, 1] and L1 ε: by bisection on what pixels give up."""
    room = torch.where(delta > 0, 1 - image, image)

    def left(level):
        return torch.minimum((delta.abs() - level).clamp_min(0), room)

    level = 0.0
    if float(left(0.0).sum()) > eps:
        low, high = 0.0, float(delta.abs().max())
        for _ in range(60):
            level = (low + high) / 2
            low, high = (level, high) if float(left(level).sum()) > eps else (low, level)
        level = high
    return delta.sign() * left(level) - delta


def phase(model, image, start, loss, fallen, eps, steps):
    """One phase; returns the iterate of the largest loss, and the last one that has fallen, or None."""
    pixels = image.numel()

    def look(x):
        x = x.clone().requires_grad_(True)
        z = model(x[None])[0]
        value = loss(z)
        (gradient,) = torch.autograd.grad(value, x)
        return float(value.detach()), gradient, fallen(z)

    def changed(x):
        return float((x != image).sum())

    x = start.clamp(0, 1)
    value, gradient, _ = look(x)
    best, most, best_gradient, found = x, value, gradient, None
    before = changed(x)
    share, size = before / pixels / STEP_LESS, torch.tensor(eps)
    every = max(int(0.04 * steps), 1)
    for step in range(1, steps + 1):
        least = gradient.abs().flatten().sort().values[int(min(max((1 - share) * pixels, 0), pixels - 1))]
        way = (gradient * (gradient.abs() >= least)).sign()
        delta = (x + way * (size.double() / (way.abs().sum() + 1e-10))) - image
        x = (delta + image) + onto(image, delta, eps)
        value, gradient, has_fallen = look(x)
        if has_fallen:
            found = x
        if value > most:
            best, most, best_gradient = x, value, gradient
        if step % every == 0:
            now = changed(best)
            share = now / pixels / STEP_LESS
            sparser = now / before < SPARSER
            size = torch.tensor(eps) if sparser else (size / STEP_LESS).clamp(eps / STEP_LEAST, eps)
            before = now
            if sparser:
                x, gradient = best, best_gradient
    return best, found


def apgd(model, images, labels, *, eps, steps, seed=0, restarts=1, targets=None):
    """On the cross-entropy with restarts, or at each of the likeliest wrong classes in turn, until one has fallen."""
    torch.manual_seed(seed)
    found, alive = images.clone(), list(range(len(images)))
    first = math.ceil(0.3 * steps)
    phases = ((3 * eps, first), (2 * eps, first), (eps, steps - 2 * first))
    ranked = [model(x[None])[0].detach().argsort(descending=True) for x in images]
    for turn in range(restarts if targets is None else targets):
        if not alive:
            break
        left, draws = [], torch.randn_like(images[alive])
        for i, draw in zip(alive, draws, strict=True):
            image, aim = images[i], int(labels[i]) if targets is None else int(ranked[i][turn + 1])
            sign = 1 if targets is None else -1

            def loss(z, aim=aim, sign=sign):
                return sign * (torch.logsumexp(z, 0) - z[aim])

            def fallen(z, label=int(labels[i])):
                return int(z.argmax()) != label  # whichever class was aimed at

            x = image + draw
            x = x + onto(image, x - image, 3 * eps)
            for size, count in phases:
                x = x + onto(image, x - image, size)
                x, got = phase(model, image, x, loss, fallen, size, count)
            if got is None:
                left.append(i)
            else:
                found[i] = got
        alive = left
    return found
