"""AutoAttack's four standard attacks, one image at a time in float64, from their papers and its published settings.

Croce & Hein 2020 (APGD, its targeted loss; FAB is Croce & Hein 2020b), Andriushchenko et al. 2020 (Square). What is
drawn is drawn in the order in which AutoAttack draws, so that results are equal and not only alike.
"""

from functools import partial

import torch

STEP_SHARE, STEP_LESS, STEP_LEAST = 0.22, 0.03, 0.06
"""APGD's checkpoints, as shares of its steps: the first window, by how much each next is shorter, the shortest."""
RHO, MOMENTUM = 0.75, 0.75
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which Square halves the share of pixels that it changes."""
P_FIRST = 0.8
ALPHA_MOST, ETA, BETA = 0.1, 1.05, 0.9


def logits_of(model, x):
    with torch.no_grad():
        return model(x[None])[0]


def right(model, x, y):
    return int(logits_of(model, x).argmax()) == int(y)


def cross_entropy(z, y):
    return torch.logsumexp(z, 0) - z[y]


def targeted_ratio(z, y, target):
    """The targeted DLR, to be made large."""
    order = z.sort(descending=True).values
    return -(z[y] - z[target]) / (order[0] - (order[2] + order[3]) / 2 + 1e-12)


def ranked(model, x, place):
    """The class at a place among the likeliest, 1 for the likeliest."""
    return int(logits_of(model, x).argsort()[-place])


def into(x, image, eps, norm):
    """The ball, and then [0, 1]."""
    delta = x - image
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    elif float(delta.norm()) > eps:
        delta = delta * (eps / delta.norm())
    return (image + delta).clamp(0, 1)


def apgd_one(model, image, y, start, loss, *, eps, steps, norm):
    """Algorithm 1 of APGD; returns the last iterate that is misclassified, or None."""

    def look(x):
        x = x.clone().requires_grad_(True)
        z = model(x[None])[0]
        value = loss(z)
        (gradient,) = torch.autograd.grad(value, x)
        return float(value.detach()), gradient, int(z.argmax()) != int(y)

    def go(x, gradient, size):
        way = gradient.sign() if norm == "linf" else gradient / (gradient.norm() + 1e-12)
        return into(x + size * way, image, eps, norm)

    x = start
    value, gradient, fallen = look(x)
    best, best_value, best_gradient = x, value, gradient
    found = x if fallen else None
    size, old = 2 * eps, x
    window = max(int(STEP_SHARE * steps), 1)
    since, rose, previous = 0, 0, 0.0  # the first loss is compared with 0, not with that of the start
    at_last_check, halved = best_value, True
    for step in range(steps):
        ahead = go(x, gradient, size)
        a = MOMENTUM if step else 1.0
        x, old = into(x + a * (ahead - x) + (1 - a) * (x - old), image, eps, norm), x
        value, gradient, fallen = look(x)
        if fallen:
            found = x
        if value > best_value:
            best, best_value, best_gradient = x, value, gradient
        kept = float(torch.tensor(value, dtype=torch.float32))  # as AutoAttack keeps what it counts rises of
        rose += kept > previous
        previous, since = kept, since + 1
        if since == window:
            stuck = not halved and at_last_check >= best_value
            halved = rose <= RHO * window or stuck
            at_last_check = best_value
            if halved:
                size, x, gradient = size / 2, best, best_gradient
            since, rose = 0, 0
            window = max(window - max(int(STEP_LESS * steps), 1), max(int(STEP_LEAST * steps), 1))
    return found


def starts(images, eps, norm):
    """A point on the ball's surface for each image, drawn for all at once."""
    if norm == "linf":
        draw = 2 * torch.rand(images.shape) - 1
        lengths = draw.flatten(1).abs().amax(1)
    else:
        draw = torch.randn(images.shape)
        lengths = draw.flatten(1).norm(dim=1)
    return (images + eps * draw.double() / lengths.double().view(-1, 1, 1, 1)).clamp(0, 1)


def apgd(model, images, labels, *, eps, steps, norm="linf", seed=0, targets=None):
    """APGD on the cross-entropy, or on the targeted DLR at each of the likeliest wrong classes in turn."""
    torch.manual_seed(seed)
    found = images.clone()
    alive = [i for i in range(len(images)) if right(model, images[i], labels[i])]
    for place in [None] if targets is None else range(2, targets + 2):
        if not alive:
            break
        begin, left = starts(images[alive], eps, norm), []
        for i, start in zip(alive, begin, strict=True):
            y = int(labels[i])
            loss = partial(cross_entropy, y=y)
            if place is not None:
                loss = partial(targeted_ratio, y=y, target=ranked(model, images[i], place))
            got = apgd_one(model, images[i], y, start, loss, eps=eps, steps=steps, norm=norm)
            if got is None:
                left.append(i)
            else:
                found[i] = got
        alive = left
    return found


def onto_plane(x, w, rise, norm):
    """The shortest step from x, within [0, 1], by which w·step is `rise`; as far as [0, 1] lets it where it cannot be.

    By bisection: in Linf a step of ± r at each pixel, in L2 one of r·w, both cut off at 0 and 1.
    """
    way = (w if rise > 0 else -w) if norm == "l2" else (w.sign() if rise > 0 else -w.sign())

    def step(r):
        return (x + r * way).clamp(0, 1) - x

    low, high = 0.0, 1.0 if norm == "linf" else 2 / float(w.abs()[w != 0].min())
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if abs(float((w * step(middle)).sum())) < abs(rise) else (low, middle)
    return step(high)


def fab_distance(model, image, y, target, *, steps, norm):
    """FAB towards one class: the smallest distance at which an iterate was misclassified; inf for none."""

    def length(d):
        return float(d.abs().max()) if norm == "linf" else float(d.norm())

    x, best = image.clone(), float("inf")
    for _ in range(steps):
        at = x.clone().requires_grad_(True)
        z = model(at[None])[0]
        lead = z[target] - z[y]
        (w,) = torch.autograd.grad(lead, at)
        lead = lead.detach()
        here, there = (onto_plane(p, w, -float(lead) - float((w * (p - x)).sum()), norm) for p in (x, image))
        one, two = max(length(here), 1e-8), max(length(there), 1e-8)
        a = min(one / (one + two), ALPHA_MOST)
        x = ((x + ETA * here) * (1 - a) + (image + ETA * there) * a).clamp(0, 1)
        if not right(model, x, y):
            best = min(best, length(x - image))
            x = image + BETA * (x - image)
    return best


def fab(model, images, labels, *, eps, steps, norm="linf", targets=3):
    """For each image the smallest distance over the likeliest wrong classes, tried in turn until one is within ε."""
    far = []
    for image, y in zip(images, labels, strict=True):
        best = float("inf")
        for place in range(2, targets + 2):
            best = fab_distance(model, image, y, ranked(model, image, place), steps=steps, norm=norm)
            if best <= eps:
                break
        far.append(best)
    return far


def signs(*shape):
    return (2 * torch.rand(shape) - 1).sign().double()


def margin(model, x, y):
    z = logits_of(model, x).clone()
    own, z[y] = float(z[y]), -torch.inf
    return own - float(z.max())


def corner(length, side):
    """A window's first row or column, drawn."""
    return int((length - side) * torch.rand(1))


def striped(images, eps):
    """Where Square begins in Linf: vertical stripes of ± ε."""
    stripes = signs(len(images), images.shape[1], 1, images.shape[3])
    return [(x + eps * s).clamp(0, 1) for x, s in zip(images, stripes, strict=True)]


def sign_window(found, images, eps, p):
    """A step of Square in Linf: ± 2ε in a window, one sign a channel, and back into the ball."""
    _, channels, height, width = images.shape
    side = max(round((p * height * width) ** 0.5), 1)
    top, left = corner(height, side), corner(width, side)
    window = torch.zeros(channels, height, width, dtype=torch.float64)
    window[:, top : top + side, left : left + side] = 2 * eps * signs(channels, 1, 1)
    return [into(x + window, image, eps, "linf") for x, image in zip(found, images, strict=True)]


def mound(height, width):
    """η of the paper: a pixel k from the middle, in the larger of its two distances, has Σ 1/(j + 1)² over j ≥ k."""
    last = max(height // 2, width // 2)
    rows = [
        [
            sum(1 / (j + 1) ** 2 for j in range(max(abs(r - height // 2), abs(c - width // 2)), last + 1))
            for c in range(width)
        ]
        for r in range(height)
    ]
    found = torch.tensor(rows, dtype=torch.float64).view(height, width)
    return found / found.norm()


def two_mounds(side):
    """One above the other, of opposite signs, or side by side by the toss of a coin; of length 1."""
    found = torch.cat([mound(side // 2, side), -mound(side - side // 2, side)])
    found = found / found.norm()
    return found.T if float(torch.rand(1)) > 0.5 else found


def tiled(images, eps):
    """Where Square begins in L2: mounds side by side, a sign for each image and channel, of length ε."""
    count, channels, height, width = images.shape
    side = height // 5
    edge = (height - 5 * side) // 2
    delta = torch.zeros_like(images)
    for top in range(edge, edge + height // side * side, side):
        for left in range(edge, edge + width // side * side, side):
            delta[..., top : top + side, left : left + side] += two_mounds(side) * signs(
                count, channels, 1, 1
            )
    return [(x + eps * d / d.norm()).clamp(0, 1) for x, d in zip(images, delta, strict=True)]


def two_windows(found, images, eps, p):
    """A step of Square in L2: what a second window holds, and what of ε is not used yet, goes into the first.

    As AutoAttack has it both windows are measured over all channels at once; its authors' code does so by channel.
    """
    _, channels, height, width = images.shape
    side = max(round((p * height * width) ** 0.5), 3)
    side += side % 2 == 0
    (top, left), (up, across) = ((corner(height, side), corner(width, side)) for _ in range(2))
    one = (slice(None), slice(top, top + side), slice(left, left + side))
    two = (slice(None), slice(up, up + side), slice(across, across + side))
    shape = two_mounds(side)
    made = []
    for x, image, sign in zip(found, images, signs(len(found), channels, 1, 1), strict=True):
        delta = x - image
        either = torch.zeros_like(delta)
        either[one] = either[two] = 1
        room = max(eps**2 - float(delta.square().sum()), 0.0) / channels
        length = (room + float((delta * either).square().sum())) ** 0.5
        put = [s * shape + old / old.norm().clamp_min(1e-12) for s, old in zip(sign, delta[one], strict=True)]
        delta[two] = 0
        delta[one] = torch.stack([length * new / new.norm() for new in put])
        made.append((image + eps * delta / delta.norm()).clamp(0, 1))
    return made


def square(model, images, labels, *, eps, queries, norm="linf", seed=0):
    """Square: a beginning, then windows that are kept where the margin falls."""
    begin, step = {"linf": (striped, sign_window), "l2": (tiled, two_windows)}[norm]
    torch.manual_seed(seed)
    found = begin(images, eps)
    least = [margin(model, x, int(y)) for x, y in zip(found, labels, strict=True)]
    for query in range(queries):
        alive = [i for i in range(len(images)) if least[i] > 0]
        if not alive:
            break
        p = P_FIRST / 2 ** sum(query > at for at in HALVED_AT)
        for i, new in zip(alive, step([found[i] for i in alive], images[alive], eps, p), strict=True):
            value = margin(model, new, int(labels[i]))
            if value < least[i] or value <= 0:
                found[i], least[i] = new, value
    return torch.stack(found)
