"""The kernels compile for a GPU that is not there: the interpreter takes what the compiler would refuse."""

import pytest

triton = pytest.importorskip("triton", reason="the kernels are written in Triton, which is not there")

from surgeon.methods.adversarial_noise import kernels as adversarial_kernels  # noqa: E402  # where Triton is there
from surgeon.methods.weight_map import kernels as weight_map_kernels  # noqa: E402  # where Triton is there

NUMBERS = {"box": "fp32", "centre": "fp32"}
CONSTANTS = dict(block=512, chunk=4, per_row=4)
WINDOWS = dict(rows_k=3, columns_k=3, row_0=1, column_0=1, centre_row=0, centre_column=0)
EVEN = dict(rows_k=2, columns_k=4, row_0=0, column_0=1, centre_row=0, centre_column=0)
ON = dict(has_centre=True, has_bias=True, has_sums=True)
CASES = [
    (weight_map_kernels.filtered, {**CONSTANTS, **WINDOWS, **ON}),
    (weight_map_kernels.filtered, {**CONSTANTS, **EVEN, **dict.fromkeys(ON, False)}),
    (adversarial_kernels.peaks, CONSTANTS),
    *[(adversarial_kernels.measured, {**CONSTANTS, "has_rows": on}) for on in (True, False)],
    *[(adversarial_kernels.factors, {**CONSTANTS, "single": on}) for on in (True, False)],
    *[(adversarial_kernels.perturbed, {**CONSTANTS, "has_rows": on}) for on in (True, False)],
    *[(adversarial_kernels.remembered, {**CONSTANTS, "scaled": on}) for on in (True, False)],
]
WHOLE = ("images", "height", "width", "channels", "size", "part", "parts")
POINTERS = {
    "labels": "*i64",
    "rows": "*i64",
    "chosen": "*i32",
    "found": "*fp32",
    "means": "*fp32",
    "squares": "*fp32",
    "r": "*fp32",
    "factor": "*fp32",
    "sums": "*fp32",
    "bias": "*fp32",
}


@pytest.mark.parametrize("ones", [False, True], ids=["", "where sizes of 1 are constants"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0].__name__)
def test_they_compile(case, ones):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel, constants = case
    constants = {k: v for k, v in constants.items() if k in kernel.arg_names}
    whole = {name for name in WHOLE if name in kernel.arg_names}
    if ones:  # as Triton does with arguments that are 1
        constants |= dict.fromkeys(whole, 1)
    signature = {}
    for name in kernel.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name in whole:
            signature[name] = "i32"
        else:
            signature[name] = NUMBERS.get(name) or POINTERS.get(name, "*bf16")
    made = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    assert ".target sm_90" in made.asm["ptx"]
