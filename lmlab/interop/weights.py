"""Safetensors files: arrays by name, mapped into memory; checked before anything in the file is believed.

The format: 8 bytes that give the length of a JSON header {name: {"dtype", "shape", "data_offsets": [begin, end]}}, the
header, and then the data, which the tensors fill without a hole. Reading is a view of the file, so that is done here;
the safetensors package writes.
"""

import json
import math
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from lmlab.utils.errors import UserError

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
_HEADER = 2 ** 24  # bytes: room for some 100,000 tensors, and a bound on what a hostile header makes of memory
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
           "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2, "BOOL": np.bool_,
           "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
           "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8}


def read(folder: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a folder's model.safetensors, or of the shards that its model.safetensors.index.json names.

    They are views of the mapped files: no byte is read before it is used, and none can be written.

    Raises:
      UserError: where there are none, a file is damaged, a shard or a tensor is missing; it names file and tensor.
    """
    folder = Path(folder)
    if (folder / FILE).is_file():
        return read_file(folder / FILE)
    if (folder / INDEX).is_file():
        return _read_shards(folder / INDEX)
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"{folder}: only {pickles[0]}, which is a pickle: reading it may run code, so it is refused. If you trust "
            f"it, convert it where torch and transformers are installed: python -c \"import transformers as t; "
            f"f = '{folder}'; getattr(t, t.AutoConfig.from_pretrained(f).architectures[0]).from_pretrained(f)"
            ".save_pretrained(f, safe_serialization=True)\"")
    raise UserError(f"{folder}: no {FILE} and no {INDEX} here")


def read_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one safetensors file, as `read` gives them."""
    data = map_file(path)
    length = int.from_bytes(data[:8].tobytes(), "little")
    if data.size < 8 or length > data.size - 8:
        raise UserError(f"{path}: cut off: {data.size} bytes, of which its header should have {length}; fetch it again")
    header = read_json(path, data[8:8 + length])
    header.pop("__metadata__", None)
    data, arrays, end = data[8 + length:], {}, 0
    spans = sorted((*_span(path, name, entry), name) for name, entry in header.items())
    for begin, stop, name in spans:
        if begin != end:
            _damaged(path, name, f"begins at byte {begin} of the data, the one before it ends at {end}")
        if stop > data.size:
            _damaged(path, name, f"ends at byte {stop} of {data.size}: the file is cut off")
        arrays[name], end = data[begin:stop].view(_DTYPES[header[name]["dtype"]]).reshape(header[name]["shape"]), stop
    if end != data.size:
        raise UserError(f"{path}: {data.size - end} bytes after the last tensor belong to none; fetch it again")
    return arrays


def write(folder: str | Path, arrays: Mapping[str, np.ndarray], file: str = FILE) -> None:
    """Writes a folder's model.safetensors, or another `file`, whole or not at all, and marked as transformers marks its
    own."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file}.", dir=folder) as temporary:
        path = Path(temporary) / file
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path, {"format": "pt"})
        with open(path, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(path, folder / file)


def map_file(path: Path) -> np.ndarray:
    """The bytes of a file, mapped and read-only: (size,) uint8; a UserError where it is missing or empty."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise UserError(f"{path}: the file is empty; fetch it again")
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def read_json(path: Path, content: np.ndarray | memoryview) -> dict:
    """The JSON object in bytes; a UserError that names `path` where it is none, has a name twice, or is too long."""
    if content.nbytes > _HEADER:
        raise UserError(f"{path}: {content.nbytes} bytes of names, more than {_HEADER}: this is no model's")

    def once(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found
    try:
        found = json.loads(content.tobytes(), object_pairs_hook=once)
        if not isinstance(found, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: its JSON cannot be read ({str(error)[:80]}); fetch it again") from None
    return found


def _read_shards(path: Path) -> dict[str, np.ndarray]:
    where = read_json(path, map_file(path)).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(shard, str) for shard in where.values()):
        raise UserError(f"{path}: no weight_map of tensors to files in it; fetch it again")
    shards = {}
    for name, shard in where.items():
        if shard not in shards:
            if Path(shard).name != shard or not (path.parent / shard).is_file():
                raise UserError(f"{path.parent}: shard {shard[:80]!r} is missing, which holds {name[:80]!r} by "
                                f"{INDEX}; fetch it")
            shards[shard] = read_file(path.parent / shard)
        if name not in shards[shard]:
            _damaged(path, name, f"is not in {shard}")
    return {name: shards[shard][name] for name, shard in where.items()}


def _span(path: Path, name: str, entry: dict) -> tuple[int, int]:
    """(begin, end) of a tensor in the data, checked against its dtype and shape."""
    whole = lambda numbers, most: (isinstance(numbers, list) and len(numbers) <= most
                                   and all(type(n) is int and 0 <= n < 2 ** 62 for n in numbers))
    entry = entry if isinstance(entry, dict) else {}
    shape, offsets, dtype = (entry.get(key) for key in ("shape", "data_offsets", "dtype"))
    if not whole(shape, 32) or not whole(offsets, 2) or len(offsets) != 2:
        _damaged(path, name, "has no proper shape and data_offsets")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise UserError(f"{path}: {name[:80]!r} is of type {str(dtype)[:80]!r}; readable are {', '.join(_DTYPES)}")
    size = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != size:
        _damaged(path, name, f"has {offsets[1] - offsets[0]} bytes, not the {size} of {dtype} {shape}")
    if not size and math.prod(n or 1 for n in shape) >= 2 ** 60:
        _damaged(path, name, f"is empty, of a shape that no array can have: {shape}")
    return offsets[0], offsets[1]


def _damaged(path: Path, name: str, why: str) -> None:
    raise UserError(f"{path}: damaged: {name[:80]!r} {why}; fetch it again")
