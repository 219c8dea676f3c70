"""Attacks for the tests of the engine, and when two outcomes are the same."""

from surgeon.evaluation import (
    Attack,
)

PGD = (Attack(name="pgd", kind="own-pgd", eps=0.1, steps=5),)


MIXED = (
    Attack(name="fgsm", kind="fgsm", eps=0.05),
    Attack(name="pgd", kind="own-pgd", eps=0.05, steps=5),
    Attack(name="apgd", kind="apgd", eps=0.05, steps=5),
    Attack(name="square", kind="square", eps=0.05, steps=30, loss="margin"),
    Attack(name="pgd", kind="own-pgd", eps=0.5, steps=5, norm="l2"),
)


def same(one, other):
    """Whether two outcomes have the same verdicts, but for how long they took and how many passes they made."""
    drop = {"seconds", "queries"}
    return [v.model_dump(exclude=drop) for v in one] == [v.model_dump(exclude=drop) for v in other]
