"""The maths of the four methods: functions on tensors, then thin modules. Depends on torch alone.

The functions `weight_map.weight_map` and `adversarial_noise.adversarial_noise` are imported from their files,
since a package attribute of that name would hide the file.
"""

from surgeon.layers.adversarial_layer import AdversarialNoise
from surgeon.layers.adversarial_noise import draw_magnitude
from surgeon.layers.defective import DefectiveMask, defective_mask
from surgeon.layers.input_scale import InputScale
from surgeon.layers.kap import KernelAveragePool, kernel_average_pool
from surgeon.layers.kap_weights import (
    fold_weight,
    lstsq_data_weight,
    lstsq_sheet_weight,
    lstsq_weight,
    pool_weight,
    replicate_index,
    replicate_weight,
)
from surgeon.layers.noise import GaussianNoise
from surgeon.layers.optional_state import OptionalState
from surgeon.layers.sheet import (
    largest_kernel,
    pooled_sheet,
    pooling_matrix,
    sheet_shape,
    side_matrices,
    widened_sheet,
)
from surgeon.layers.weight_map_blend import WeightMapBlend
from surgeon.layers.weight_map_layer import WeightMap2d, init_from_conv

__all__ = [
    "AdversarialNoise",
    "DefectiveMask",
    "GaussianNoise",
    "InputScale",
    "KernelAveragePool",
    "OptionalState",
    "WeightMap2d",
    "WeightMapBlend",
    "defective_mask",
    "draw_magnitude",
    "fold_weight",
    "init_from_conv",
    "kernel_average_pool",
    "largest_kernel",
    "lstsq_data_weight",
    "lstsq_sheet_weight",
    "lstsq_weight",
    "pool_weight",
    "pooled_sheet",
    "pooling_matrix",
    "replicate_index",
    "replicate_weight",
    "sheet_shape",
    "side_matrices",
    "widened_sheet",
]
