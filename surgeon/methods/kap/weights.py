"""Kernel Average Pooling on weights: fold it into the convolution before it, or start it from one.

Mean pooling along channels is linear, KAP(conv(x; W, b)) = conv(x; A W, A b) (eq. 3 of Bashivan et al.), so
it can run on the C_out C_in k² weights instead of the activations. Kernel Max Pooling is not linear and has
nothing of this.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.kap.sheet import pooled_sheet, sheet_shape, widened_sheet, window

_NO_RIDGE = 1e-12
_RANK = 1e-10
Factors = tuple[Tensor, Tensor]
"""A pooling matrix as `sheet.side_matrices` gives it: A = A_rows (x) A_columns."""


def fold_weight(weight: Tensor, bias: Tensor | None, matrix: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return (A W, A b), eq. 3: the convolution that equals convolution then pooling. Differentiable.

    The weight must reach every input channel: a grouped one needs its zeros written out, since A mixes the
    groups.

    Args:
        weight: (C_in, ...), output channels first.
        bias: (C_in,) or None.
        matrix: A, (C_out, C_in).

    Returns:
        (C_out, ...) and (C_out,) or None, computed in the wider dtype of the two, in the dtype of the weight.

    Raises:
        LayerError: The sizes do not fit.

    Examples:
        >>> import torch
        >>> from surgeon.methods.kap import pooling_matrix
        >>> fold_weight(torch.tensor([[1.0], [2.0], [6.0]]), None, pooling_matrix(3, 3, dims=1))[0].flatten()
        tensor([1.5000, 3.0000, 4.0000])
    """
    _check_columns(weight, matrix)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise LayerError(
            f"bias of shape {tuple(bias.shape)} does not fit a weight of {weight.shape[0]} channels"
        )
    folded = _apply(matrix, weight)
    return folded, None if bias is None else _apply(matrix, bias)


def pool_weight(weight: Tensor, factors: Factors) -> Tensor:
    """Return A W for A = A_rows ⊗ A_columns.

    Args:
        weight: (C_in, ...).
        factors: A_rows and A_columns, as from `side_matrices`.

    Returns:
        (C_out, ...), in the dtype of `weight`.

    Examples:
        >>> rows, columns = torch.tensor([[1.0]]), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
        >>> pool_weight(torch.tensor([[1.0], [3.0], [5.0]]), (rows, columns)).flatten()
        tensor([2., 4.])
    """
    rows, cols = (f.to(weight) for f in factors)
    sheet = weight.reshape(rows.shape[1], cols.shape[1], -1)
    pooled = torch.einsum("ar,bq,rqd->abd", rows, cols, sheet)
    return pooled.reshape(rows.shape[0] * cols.shape[0], *weight.shape[1:])


def lstsq_sheet_weight(weight: Tensor, factors: Factors, ridge: float = 1e-4) -> Tensor:
    """Solve `lstsq_weight` for a matrix given by its factors: the same solution at a fraction of the cost.

    With the singular values of the factors, A = (U_r ⊗ U_c)(S_r ⊗ S_c)(V_r ⊗ V_c)ᵀ, each coefficient of W is
    multiplied by s / (s² + ridge).

    Args:
        weight: (C_out, ...).
        factors: A_rows and A_columns.
        ridge: Regularisation, ≥ 0; below 1e-12 the solution of least norm.

    Returns:
        (C_in, ...), in the dtype of `weight`.

    Raises:
        LayerError: `ridge` is negative.
    """
    if ridge < 0:
        raise LayerError(f"ridge={ridge} is negative; 0 (least norm) or more, for instance 1e-4")
    (ur, sr, vr), (uc, sc, vc) = (
        torch.linalg.svd(f.to(weight.device).double(), full_matrices=False) for f in factors
    )
    s = torch.outer(sr, sc)
    gain = (
        s / (s.square() + ridge)
        if ridge >= _NO_RIDGE
        else torch.where(s > _RANK, 1 / s.clamp_min(_RANK), 0.0)
    )
    sheet = weight.detach().double().reshape(ur.shape[0], uc.shape[0], -1)
    turned = torch.einsum("ra,qb,rqd->abd", ur, uc, sheet) * gain.unsqueeze(2)
    solved = torch.einsum("ar,bq,abd->rqd", vr, vc, turned)
    return solved.reshape(vr.shape[1] * vc.shape[1], *weight.shape[1:]).to(weight.dtype)


def lstsq_grouped_weight(
    weight: Tensor, matrix: Tensor, groups: int, ridge: float = 1e-4, *, behind: Tensor | None = None
) -> tuple[Tensor, float]:
    """Solve `lstsq_weight` for a convolution with groups, whose pooled kernels mix inputs that its own never see.

    Kernels of different groups read different channels, so the error of a pooled kernel is what it has too much of the
    other groups' as well as what it lacks: the zeros between the groups are written out. With one channel a group
    nothing can be undone: at K = 3 the error is about 0.94 whatever the weights are.

    Args:
        weight: (C, C_in / groups, *kernel).
        matrix: A, (C, C).
        groups: Number of groups.
        ridge: As in `lstsq_weight`.
        behind: B, (C, C), where the kernels to approach are B W, which reach all groups. Default: W.

    Returns:
        (C, C_in / groups, *kernel) in the dtype of `weight`, and the relative error of the pooled kernels.
    """
    a = matrix.to(weight.device).double()
    channels = len(weight)
    own = weight.detach().double().reshape(groups, channels // groups, -1)
    parts = a.view(channels, groups, -1).permute(1, 0, 2)  # A's columns of each group
    gram = parts.mT @ parts
    reached = parts.reshape(groups, groups, -1, parts.shape[2]).diagonal(dim1=0, dim2=1).permute(2, 0, 1)
    damped = gram + ridge * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    wanted, size = reached.mT @ own, own.square().sum()
    if behind is not None:
        aim = behind.to(a).view(channels, groups, -1).permute(1, 0, 2) @ own
        wanted, size = parts.mT @ aim, aim.square().sum()
    # Not by Cholesky: the ridge may be 0, and windows of one group may then leave a singular matrix.
    solved = torch.linalg.pinv(damped, hermitian=True) @ wanted
    error = (solved * (gram @ solved)).sum() - 2 * (solved * wanted).sum() + size
    relative = float((error.clamp_min(0) / size.clamp_min(1e-300)).sqrt())
    return solved.reshape(weight.shape).to(weight.dtype), relative


def lstsq_weight(weight: Tensor, matrix: Tensor, ridge: float = 1e-4) -> Tensor:
    """Return W' = argmin ‖A W' − W‖² + ridge ‖W'‖², so that the pooled new kernels approach the trained ones.

    A is singular for many sheets (8×8 with K = 3 is one), so the fit is approximate. Solved in float64.
    Here: this start is ours; the paper trains from scratch.

    Args:
        weight: (C_out, ...), a weight or a bias.
        matrix: A, (C_out, C_in).
        ridge: Regularisation, ≥ 0, without unit since A is dimensionless; below 1e-12 the solution of least
            norm.

    Returns:
        (C_in, ...), in the dtype of `weight`.

    Raises:
        LayerError: `ridge` is negative, or the sizes do not fit.

    Examples:
        >>> import torch
        >>> from surgeon.methods.kap import pooling_matrix
        >>> weight, a = torch.tensor([1.0, 2.0, 3.0]), pooling_matrix(3, 3, dims=1)
        >>> solved = lstsq_weight(weight, a, ridge=0)
        >>> bool(((a.T @ (a @ solved.double() - weight)).abs() < 1e-5).all())  # orthogonal residual
        True
    """
    if ridge < 0:
        raise LayerError(f"ridge={ridge} is negative; 0 (least norm) or more, for instance 1e-4")
    if matrix.dim() != 2 or weight.dim() < 1 or matrix.shape[0] != weight.shape[0]:
        raise LayerError(
            f"a matrix of shape {tuple(matrix.shape)} cannot give a weight of shape {tuple(weight.shape)}; "
            "its rows must equal the weight's output channels"
        )
    a = matrix.detach().double()
    w = weight.detach().double().flatten(1) if weight.dim() > 1 else weight.detach().double().unsqueeze(1)
    if ridge < _NO_RIDGE:
        # Without a ridge AᵀA may be singular: the pseudoinverse gives the solution of least norm.
        solved = torch.linalg.pinv(a) @ w
    else:
        normal = a.mT @ a
        normal.diagonal().add_(ridge)
        # The ridge makes the matrix positive definite also where A is singular.
        solved = torch.cholesky_solve(a.mT @ w, torch.linalg.cholesky(normal))
    return solved.reshape(matrix.shape[1], *weight.shape[1:]).to(weight.dtype)


def replicate_index(channels: int, kernel_size: int, dims: int = 2) -> Tensor:
    """Return, for each channel of the widened convolution (stride = K), which kernel it copies.

    Every window holds copies of one kernel. Here: with the paper's padding of (K − 1)/2 the first window of
    each side has (K + 1)/2 channels, and the last (K − 1)/2 channels of a side lie in no window; these copy
    the last kernel, unused.

    Args:
        channels: Number of kernels, C.
        kernel_size: K, both window and stride.
        dims: 1 or 2.

    Returns:
        (K² C,) int64 in 2-D, (K C,) in 1-D, in the row-major order of `widened_sheet(channels, K, dims)`.
    """
    rows, cols = sheet_shape(channels, dims)
    wide = widened_sheet(channels, kernel_size, dims)
    pooled_sheet(wide, kernel_size, kernel_size, dims)
    across = _nearest(wide[1], cols, window(wide, kernel_size)[1])
    down = _nearest(wide[0], rows, window(wide, kernel_size)[0])
    return (down.unsqueeze(1) * cols + across).flatten()


def replicate_weight(
    weight: Tensor,
    bias: Tensor | None,
    kernel_size: int,
    dims: int = 2,
    *,
    noise: float = 0.01,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Copy each kernel over its window, for a widened KAP with stride = K.

    The start is exact: A W' = W and A b' = b.
    Here: the paper has no such start.

    Args:
        weight: (C, ...).
        bias: (C,) or None.
        kernel_size: K, both window and stride; odd.
        dims: 1 or 2.
        noise: Standard deviation of the difference between copies, in units of the kernel's root mean square;
            its mean within each window is zero.
        generator: Source of the random numbers, which are drawn on its device. Default: torch's global one.

    Returns:
        (K² C, ...) in 2-D or (K C, ...) in 1-D, and the bias likewise, without noise.

    Raises:
        LayerError: `noise` is negative, or K is even.
    """
    if noise < 0:
        raise LayerError(f"noise={noise} is negative; 0 makes exact copies, 0.01 sets them 1 % apart")
    channels = weight.shape[0]
    index = replicate_index(channels, kernel_size, dims).to(weight.device)
    copies = weight.detach()[index]
    if noise:
        device = generator.device if generator is not None else weight.device
        drawn = torch.randn(copies.shape, generator=generator, device=device, dtype=torch.float64).to(
            weight.device
        )
        inside = _inside(channels, kernel_size, dims).to(weight.device)
        total = torch.zeros(channels, *copies.shape[1:], dtype=torch.float64, device=weight.device)
        mean = total.index_add_(0, index[inside], drawn[inside])
        members = torch.bincount(index[inside], minlength=channels).double()
        mean /= members.view(-1, *[1] * (copies.dim() - 1))
        rms = weight.detach().double().flatten(1).square().mean(1).sqrt()[index]
        drawn = (drawn - mean[index]) * rms.view(-1, *[1] * (copies.dim() - 1)) * noise
        copies = (copies.double() + drawn).to(weight.dtype)
    return copies, None if bias is None else bias.detach()[index]


def _nearest(length: int, pooled: int, size: int) -> Tensor:
    """For each place of a side pooled with stride = size, the window that covers it, or the last one."""
    return ((torch.arange(length, device="cpu") + size // 2) // size).clamp_(max=pooled - 1)


def _inside(channels: int, kernel_size: int, dims: int) -> Tensor:
    """Return (widened channels,) bool: whether any window covers the channel."""
    sides = widened_sheet(channels, kernel_size, dims)
    sizes = window(sides, kernel_size)
    covered = [
        torch.arange(side, device="cpu") < side - size // 2 for side, size in zip(sides, sizes, strict=True)
    ]
    return (covered[0].unsqueeze(1) & covered[1]).flatten()


def _apply(matrix: Tensor, weight: Tensor) -> Tensor:
    """Multiply a matrix onto the first axis of a weight, in the wider dtype of the two."""
    wide = torch.promote_types(matrix.dtype, weight.dtype)
    rows = weight.to(wide).reshape(weight.shape[0], -1)
    out = matrix.to(device=weight.device, dtype=wide) @ rows
    return out.reshape(matrix.shape[0], *weight.shape[1:]).to(weight.dtype)


def _check_columns(weight: Tensor, matrix: Tensor) -> None:
    """Raise LayerError unless the matrix can pool the weight."""
    if matrix.dim() != 2 or weight.dim() < 1 or matrix.shape[1] != weight.shape[0]:
        raise LayerError(
            f"a matrix of shape {tuple(matrix.shape)} cannot pool a weight of shape {tuple(weight.shape)}; "
            "its columns must equal the weight's output channels"
        )


def lstsq_data_weight(matrix: Tensor, regression: Tensor, scale: Tensor, ridge: float = 1e-4) -> Tensor:
    """Return W' with A W' u close to y on data: the least-squares start on data instead of on weights.

    Minimises ‖D (A W' − M)‖² + ridge · mean(scale²) ‖W'‖², D = diag(scale). With ridge = 0 this also
    minimises E‖D (A W' u − y)‖², for any u.

    Args:
        matrix: A, (C_out, C_in).
        regression: M, (C_out, d): E[y uᵀ] E[u uᵀ]⁻¹, what the layer would be without pooling.
        scale: (C_out,), the weight of each channel's errors.
        ridge: Regularisation, ≥ 0.

    Returns:
        (C_in, d), float64.
    """
    spread = scale.double().unsqueeze(1)
    ridge = ridge * float(scale.double().square().mean())
    return lstsq_weight(spread * regression.double(), spread * matrix.detach().double(), ridge)
