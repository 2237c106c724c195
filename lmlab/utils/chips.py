"""What chips can do, as their makers publish it: for MFU and for the roofline of a plan."""

from typing import NamedTuple


class Chip(NamedTuple):
    """Peak rates of one chip.

    Attributes:
      flops: of dense bfloat16 matrix products, a second. memory: bytes. bandwidth: bytes a second to that memory.
      link: bytes a second out of one link to another chip, one way. axes: of the torus, two links each.
      fp8: whether it multiplies 8-bit floating-point numbers (E4M3, E5M2).
    """
    flops: float
    memory: float
    bandwidth: float
    link: float
    axes: int
    fp8: bool = False


GiB = 2 ** 30
CHIPS = {
    "v4": Chip(275e12, 32 * GiB, 1.2e12, 4.5e10, 3),
    "v5e": Chip(197e12, 16 * GiB, 8.1e11, 4.5e10, 2),
    "v5p": Chip(459e12, 95 * GiB, 2.77e12, 9e10, 3),
    "v6e": Chip(918e12, 32 * GiB, 1.64e12, 9e10, 2),
    "A100": Chip(312e12, 80 * GiB, 2.0e12, 3e11, 1),
    "H100": Chip(989e12, 80 * GiB, 3.35e12, 4.5e11, 1, fp8=True),
    "H200": Chip(989e12, 141 * GiB, 4.8e12, 4.5e11, 1, fp8=True),
}
# What jax calls them (device_kind begins so) -> the name above. The longer name first.
KINDS = (("TPU v4", "v4"), ("TPU v5 lite", "v5e"), ("TPU v5e", "v5e"), ("TPU v5", "v5p"), ("TPU v6", "v6e"),
         ("NVIDIA A100", "A100"), ("NVIDIA H100", "H100"), ("NVIDIA H200", "H200"))


def find(device_kind: str) -> Chip | None:
    """The chip that jax calls so; None where it is not in the table, and then there is no MFU."""
    name = next((name for kind, name in KINDS if device_kind.startswith(kind)), None)
    return CHIPS.get(name)
