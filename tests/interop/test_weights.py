"""Safetensors in and out: against the safetensors package, and against files that are cut, lie or were changed."""

import json
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as official

from lmlab.interop import weights
from lmlab.utils.errors import UserError


@pytest.fixture(scope="module")
def arrays():
    """Arrays of every dtype that models are stored in, empty and scalar ones among them."""
    rng = np.random.default_rng(0)
    kinds = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i64": np.int64, "u8": np.uint8,
             "bool": np.bool_}
    return {name: np.abs(9 * rng.standard_normal((3, 5))).astype(kind) for name, kind in kinds.items()} | {
        "scalar": np.array(1.5, np.float32), "empty": np.zeros((0, 4), np.float32)}


@pytest.fixture(scope="module")
def whole(arrays, tmp_path_factory):
    """The bytes of a file with these arrays, written by the safetensors package."""
    path = tmp_path_factory.mktemp("whole") / weights.FILE
    official.save_file(arrays, path, {"format": "pt"})
    return path.read_bytes()


def same(found, expected):
    """Equal names, dtypes, shapes and bits."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def file_of(header, data=b""):
    """The bytes of a file with a header, a dict or bytes, and data."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(shape=(2,), begin=0, end=8, dtype="F32"):
    """A tensor's entry in a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_reads_what_the_package_writes_and_the_package_what_we_write(arrays, whole, tmp_path):
    (tmp_path / weights.FILE).write_bytes(whole)
    found = weights.read(tmp_path)
    same(found, arrays)
    assert not any(array.flags.owndata or array.flags.writeable for array in found.values())
    weights.write(tmp_path / "new", {name: array.T.copy().T for name, array in arrays.items()})
    assert [path.name for path in (tmp_path / "new").iterdir()] == [weights.FILE]
    same(weights.read(tmp_path / "new"), arrays)
    plain = {name: array for name, array in arrays.items() if name != "bf16"}  # numpy has no bfloat16 of its own
    weights.write(tmp_path / "plain", plain)
    same(official.load_file(tmp_path / "plain" / weights.FILE), plain)


def test_torch_reads_bfloat16_as_written(arrays, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file
    weights.write(tmp_path, arrays)
    found = load_file(tmp_path / weights.FILE)
    assert found["bf16"].dtype == torch.bfloat16
    np.testing.assert_array_equal(found["bf16"].float().numpy(), arrays["bf16"].astype(np.float32))


def shards(folder, arrays):
    """A folder of two shards and their index; returns the index."""
    names = sorted(arrays)
    where = {name: f"model-0000{1 + (i > 3)}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in set(where.values()):
        official.save_file({name: arrays[name] for name in names if where[name] == shard}, folder / shard)
    (folder / weights.INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return where


def test_shards(arrays, tmp_path):
    where = shards(tmp_path, arrays)
    same(weights.read(tmp_path), arrays)
    index = tmp_path / weights.INDEX
    index.write_text(json.dumps({"weight_map": {**where, "other": where["f32"]}}))
    with pytest.raises(UserError, match=f"'other' is not in {where['f32']}"):
        weights.read(tmp_path)
    for shard in ("../x.safetensors", "/etc/passwd", "..", "", "a\0b", "model-00003-of-00002.safetensors", "\ud800"):
        index.write_text(json.dumps({"weight_map": {**where, "f32": shard}}))
        with pytest.raises(UserError, match="shard .* is missing, which holds 'f32'") as error:
            weights.read(tmp_path)
        assert "\n" not in str(error.value)
    for content in ("{}", "[1]", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}', '{"weight_map": ', ""):
        index.write_text(content)
        with pytest.raises(UserError, match="index.json"):
            weights.read(tmp_path)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path):
    with pytest.raises(UserError, match="no model.safetensors"):
        weights.read(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(UserError, match="pytorch_model.bin, which is a pickle.*safe_serialization=True") as error:
        weights.read(tmp_path)
    assert "\n" not in str(error.value)


BAD = {
    "nothing": (b"", "empty"),
    "short": (b"\1\0\0", "cut off"),
    "length beyond the file": (struct.pack("<Q", 100) + b"{}", "cut off: 10 bytes"),
    "length of 2**63": (struct.pack("<Q", 2 ** 63) + b"{}" * 50, "cut off"),
    "length of 2**64-1": (struct.pack("<Q", 2 ** 64 - 1) + b"{}" * 50, "cut off"),
    "no JSON": (file_of(b"{]"), "JSON"),
    "no object": (file_of(b"[]"), "not an object"),
    "deep": (file_of(b"[" * 200_000), "JSON"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "JSON"),
    "a name twice": (file_of(b'{"a": 1, "a": 2}'), "twice"),
    "a number of 5000 digits": (file_of(b'{"a": ' + b"9" * 5000 + b"}"), "JSON"),
    "too long": (file_of(b" " * (2 ** 24 + 1)), "no model's"),
    "no entry": (file_of({"a": 3}), "'a' has no proper"),
    "no shape": (file_of({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, b"x" * 8), "'a' has no proper"),
    "negative": (file_of({"a": entry(shape=(-1, -2))}, b"x" * 8), "'a' has no proper"),
    "fraction": (file_of({"a": entry(shape=(2.0,))}, b"x" * 8), "'a' has no proper"),
    "huge": (file_of({"a": entry(shape=(2 ** 61, 2 ** 61), end=2 ** 61)}, b"x" * 8), "'a' has 2305"),
    "huge and empty": (file_of({"a": entry(shape=(0, 2 ** 61), end=0)}), "'a' is empty"),
    "many axes": (file_of({"a": entry(shape=(1,) * 1000)}, b"x" * 8), "'a' has no proper"),
    "one offset": (file_of({"a": {**entry(), "data_offsets": [8]}}, b"x" * 8), "'a' has no proper"),
    "unknown type": (file_of({"a": entry(dtype="F4")}, b"x" * 8), "'a' is of type 'F4'; readable are"),
    "type no word": (file_of({"a": entry(dtype=[])}, b"x" * 8), "'a' is of type"),
    "shape lies": (file_of({"a": entry(shape=(3,))}, b"x" * 8), "'a' has 8 bytes, not the 12 of F32"),
    "backwards": (file_of({"a": entry(begin=8, end=0)}, b"x" * 8), "'a' has -8 bytes"),
    "beyond the file": (file_of({"a": entry((4,), 0, 16)}, b"x" * 8), "'a' ends at byte 16 of 8: the file is cut off"),
    "overlap": (file_of({"a": entry(), "b": entry(begin=4, end=12)}, b"x" * 12), "'b' begins at byte 4"),
    "hole": (file_of({"a": entry(), "b": entry(begin=12, end=20)}, b"x" * 20), "'b' begins at byte 12"),
    "bytes left over": (file_of({"a": entry()}, b"x" * 9), "1 bytes after the last tensor"),
}


@pytest.mark.parametrize("content,words", BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line(content, words, tmp_path):
    (tmp_path / weights.FILE).write_bytes(content)
    with pytest.raises(UserError) as error:
        weights.read(tmp_path)
    assert words in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 600
    assert weights.FILE in str(error.value)


FUZZ = """
import random, resource, struct, sys
from pathlib import Path
from lmlab.interop import weights
from lmlab.utils.errors import UserError

path, whole, rng, refused = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes(), random.Random(0), 0
length = 8 + int.from_bytes(whole[:8], "little")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for turn in range(600):
    data = bytearray(whole)
    if turn % 3 == 0:
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(length)] ^= 1 << rng.randrange(8)
    elif turn % 3 == 1:
        data = data[:rng.randrange(len(whole))]
    else:
        data[:8] = struct.pack("<Q", rng.choice((0, 1, rng.randrange(length), length, 2 ** 31, 2 ** 40, 2 ** 62,
                                                 2 ** 63, rng.randrange(2 ** 64))))
    path.write_bytes(data)
    try:
        found = weights.read_file(path)
        assert sum(array.nbytes for array in found.values()) <= len(data)  # a flipped letter of a name, say
    except UserError as error:
        refused += 1
        assert "\\n" not in str(error)
print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_fuzzed_files_end_in_a_user_error_and_little_memory(whole, tmp_path):
    (tmp_path / weights.FILE).write_bytes(whole)
    done = subprocess.run([sys.executable, "-c", FUZZ, str(tmp_path / weights.FILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, kilobytes = map(int, done.stdout.split())
    assert refused > 450 and kilobytes < 50_000
