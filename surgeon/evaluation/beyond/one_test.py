"""Whether certificates are results of one statistical test, so that one accuracy can be said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from surgeon.errors import ArgumentError

if TYPE_CHECKING:
    from surgeon.evaluation.beyond.certification import Certificate


def demand_one_test(certificates: Sequence[Certificate]) -> None:
    """Check that certificates are of one number of draws and of one alpha.

    Args:
        certificates: Certificates of one σ.

    Raises:
        ArgumentError: They are of several, under which the same network has other radii.
    """
    alphas: list[float] = []
    for alpha in (_alpha(c) for c in certificates if c.radius > 0):
        # The first digits: radii are computed with last bits of their own by each version of scipy.
        if not any(math.isclose(alpha, a, rel_tol=0.05) for a in alphas):
            alphas.append(float(f"{alpha:.2g}"))
    for name, values in (("n", list(dict.fromkeys(c.n for c in certificates))), ("alpha", alphas)):
        if len(values) > 1:
            raise ArgumentError(
                f"certificates are of {name}={' and '.join(f'{v:.10g}' for v in values[:3])}: "
                f"their radii are of tests of their own; give those of one {name}"
            )


def _alpha(certificate: Certificate) -> float:
    """The alpha that gives a certificate its radius."""
    from scipy.stats import beta, norm

    low, count = norm.cdf(certificate.radius / certificate.sigma), certificate.count
    return float(beta.cdf(low, count, certificate.n - count + 1))
