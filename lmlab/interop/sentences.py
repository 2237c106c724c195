"""What a folder of sentence-transformers says of the way from token states to one vector (modules.json)."""

from pathlib import Path

from lmlab.interop import weights
from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes

_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def read(folder: Path) -> tuple[Path, dict]:
    """(the folder of the network, {"pooling": "mean" or "cls", "normalise": bool, "length": the most tokens, where the
    folder says so}, {} where it says nothing).

    Raises:
      UserError: for a module that lmlab has not, or a folder outside this one.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return folder, {}
    network, embedding = folder, {"pooling": "mean", "normalise": False}
    for module in _modules(path):
        kind, inside = str(module.get("type")).rpartition(".")[2], folder / str(module.get("path", ""))
        if "\0" in str(inside) or not inside.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{path}: path={str(module.get('path'))[:80]!r} leads out of the folder; fetch it again")
        if kind == "Transformer":
            network = inside
            embedding |= _length(inside / "sentence_bert_config.json")
        elif kind == "Pooling":
            embedding["pooling"] = _pooling(inside / "config.json")
        elif kind == "Normalize":
            embedding["normalise"] = True
        else:
            raise UserError(f"{path}: a module of type {kind[:80]!r} is not supported; only Transformer, Pooling and "
                            "Normalize are")
    return network, embedding


def _modules(path):
    """The list of objects in modules.json."""
    modules = b'{"modules": ' + read_bytes(path) + b"}"  # a list, which no other file of the folder is
    modules = weights.read_json(path, memoryview(modules))["modules"]
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise UserError(f"{path}: damaged: it is no list of modules; fetch it again")
    return modules


def _length(path):
    """{"length": max_seq_length}; {} where it is not said."""
    length = weights.read_json(path, weights.map_file(path)).get("max_seq_length") if path.is_file() else None
    if length is not None and not (type(length) is int and length > 0):
        raise UserError(f"{path}: max_seq_length={str(length)[:80]!r} must be a positive number")
    return {"length": length} if length else {}


def _pooling(path):
    """"mean" or "cls" by the config of a Pooling module, in its old or its new form."""
    said = weights.read_json(path, weights.map_file(path))
    modes = [_POOLING.get(key, key) for key, value in said.items() if key.startswith("pooling_mode_") and value is True]
    modes = modes or [said.get("pooling_mode")]
    if modes not in (["mean"], ["cls"]):
        raise UserError(f"{path}: pooling_mode={', '.join(map(str, modes))!r} is not supported; mean or cls is")
    return modes[0]
