"""GGUF files: metadata and quantised tensors, mapped into memory; checked before anything in the file is believed.

The format (version 2 and 3, little-endian): "GGUF", version, number of tensors, number of metadata; the metadata, each
a key, a type and a value; for each tensor its name, shape (fastest axis first), type and place; and the data. Sizes of
the types and what their bytes mean come from the gguf package.
"""

import functools
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmlab.interop.weights import map_file
from lmlab.utils.errors import UserError

_MOST = 2 ** 16  # metadata, and tensors: more than any model has, and a bound on what a hostile file makes of memory
_ROWS = 1024  # dequantised at once
_SCALARS = dict(enumerate((np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.bool_))) | {
    10: np.uint64, 11: np.int64, 12: np.float64}
_STRING, _ARRAY = 8, 9


class Tensor(NamedTuple):
    """A tensor as it lies in the file. shape: slowest axis first. kind: the gguf package's name of its type."""
    shape: tuple[int, ...]
    kind: str
    data: np.ndarray  # (bytes,) uint8, mapped

    def dequantise(self) -> np.ndarray:
        """The numbers, float32, in the tensor's shape; made in pieces, so that little is held beside them."""
        from gguf import GGMLQuantizationType, quants

        out = np.empty(self.shape, np.float32)
        rows = out.reshape(-1, self.shape[-1])
        data = self.data.reshape(len(rows), -1)
        for at in range(0, len(rows), _ROWS):
            rows[at:at + _ROWS] = quants.dequantize(data[at:at + _ROWS], GGMLQuantizationType[self.kind])
        return out


class File(NamedTuple):
    """What a GGUF file says: `meta`, {key: number, bool, string, list of strings, array}; `tensors`, {name: Tensor}."""
    path: Path
    meta: dict[str, Any]
    tensors: dict[str, Tensor]


def read(path: str | Path) -> File:
    """The file, its tensors not yet read.

    Raises:
      UserError: where it is no GGUF file, is damaged, or has a tensor that the gguf package cannot dequantise; it
        names the file and the key or tensor.
    """
    path = Path(path)
    at = _Reader(path, map_file(path))
    if at.take(4).tobytes() != b"GGUF":
        raise UserError(f"{path}: not a GGUF file (it does not begin with GGUF)")
    version = at.number("I")
    if version not in (2, 3):
        raise UserError(f"{path}: GGUF version {version}; only 2 and 3, little-endian, are read")
    tensors, metadata = at.number("Q"), at.number("Q")
    if max(tensors, metadata) > _MOST:
        at.damaged(f"{tensors} tensors and {metadata} metadata")
    meta = {}
    for _ in range(metadata):
        key = at.text("a key")
        if key in meta:
            at.damaged(f"metadata {key[:80]!r} stands twice")
        meta[key] = at.value(f"metadata {key[:80]!r}")
    infos = [_info(at) for _ in range(tensors)]
    align = meta.get("general.alignment", 32)
    if type(align) is not int or align < 1:
        at.damaged("general.alignment is no positive number")
    return File(path, meta, _tensors(at, infos, -(-at.place // align) * align))


def _tensors(at, infos, start):
    """{name: Tensor} of what `_info` gave, in its order; the data begin at byte `start`."""
    found, end = dict.fromkeys(info[0] for info in infos), 0
    if len(found) != len(infos):
        at.damaged("two tensors have one name")
    for name, shape, number, offset in sorted(infos, key=lambda info: info[3]):
        kind, block, size = _kind(number)
        if not size:
            raise UserError(f"{at.path}: tensor {name[:80]!r} is of type {kind}, which cannot be dequantised here; "
                            "take the same model in another quantisation")
        stop = offset + math.prod(shape) // block * size
        if shape[-1] % block or offset < end or start + stop > at.data.size:
            at.damaged(f"tensor {name[:80]!r} ({kind}, shape {shape}) does not fit in at byte {offset} of the data, "
                       f"which end at {max(0, at.data.size - start)}")
        found[name], end = Tensor(shape, kind, at.data[start + offset:start + stop]), stop
    return found


@functools.cache
def _kind(number):
    """(name, numbers a block, bytes a block) of a type of tensor; no bytes where it cannot be dequantised."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

    names = {kind.value: kind.name for kind in GGMLQuantizationType}
    try:
        kind = GGMLQuantizationType(number)
        block, size = GGML_QUANT_SIZES[kind]
        quants.dequantize(np.zeros((1, size), np.uint8), kind)
    except (ValueError, KeyError, NotImplementedError):
        block, size = 1, 0
    return names.get(number, str(number)), block, size


class _Reader:
    """Takes a file's bytes one after the other, never more than are there."""

    def __init__(self, path, data):
        self.path, self.data, self.place = path, data, 0

    def damaged(self, why):
        raise UserError(f"{self.path}: damaged: {why}; fetch it again")

    def room(self, what, size):
        """Raises a UserError unless `size` bytes are still to come."""
        if size > self.data.size - self.place:
            self.damaged(f"{what} has {size} bytes more, of a file that ends {self.data.size - self.place} bytes on")

    def take(self, size, what="the header"):
        self.room(what, size)
        self.place += size
        return self.data[self.place - size:self.place]

    def number(self, code, what="the header"):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))[0]

    def text(self, what):
        content = self.take(self.number("Q", what), what).tobytes()
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            self.damaged(f"{what} is no UTF-8")

    def value(self, what):
        kind = self.number("I", what)
        if kind == _STRING:
            return self.text(what)
        if kind != _ARRAY:
            return self.numbers(kind, 1, what)[0].item()
        kind, count = self.number("I", what), self.number("Q", what)
        if kind == _STRING:
            self.room(what, 8 * count)
            return [self.text(what) for _ in range(count)]
        return self.numbers(kind, count, what)

    def numbers(self, kind, count, what):
        if kind not in _SCALARS:
            self.damaged(f"{what} is of unknown type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        return self.take(count * dtype.itemsize, what).view(dtype)


def _info(at):
    """(name, shape, type, offset) of the next tensor."""
    name = at.text("a tensor's name")
    axes = at.number("I")
    if not 1 <= axes <= 4:
        at.damaged(f"tensor {name[:80]!r} has {axes} axes")
    shape = tuple(at.take(8 * axes).view(np.uint64)[::-1].tolist())
    if 0 in shape:
        at.damaged(f"tensor {name[:80]!r} has an axis of length 0")
    return name, shape, at.number("I"), at.number("Q")
