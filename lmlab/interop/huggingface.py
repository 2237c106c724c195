"""Folders of Hugging Face's transformers, in and out: config.json, safetensors, tokenizer.

Names and shapes are checked both ways before a byte is copied; then each tensor goes from the mapped file to its place
in arrays made once, so that nothing stands beside the parameters.
"""

import math
import re
from pathlib import Path

import flax
import ml_dtypes
import numpy as np

from lmlab.interop import sentences, tokenizers, weights
from lmlab.interop.configs import difference, from_hf, to_hf
from lmlab.interop.families import FAMILIES
from lmlab.interop.loaded import Loaded
from lmlab.interop.names import places, shapes
from lmlab.models.spec import Spec
from lmlab.utils.errors import UserError, did_you_mean
from lmlab.utils.files import write_json

_BUFFERS = re.compile(r"(^|\.)(attn\.(masked_)?bias|position_ids|rotary_emb\.inv_freq)$")
_OLD = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
_FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)
# Parts that a file may lack: our module, and the field of the Spec that it makes, with and without.
_HEADS = {"head_transform": ("head", "transform", "linear"), "head_bias": ("head_bias", True, False),
          "pooler": ("pooler", True, False)}
_ROLES = ("bos", "eos", "pad", "decoder_start")


def load(folder) -> Loaded:
    """Reads a folder of transformers, or of sentence-transformers.

    Raises:
      UserError: for an architecture, a config or a tensor that does not fit; it names file, key and tensor.
    """
    folder, embedding = sentences.read(Path(folder))
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: no config.json here; a folder of Hugging Face's has one")
    values = weights.read_json(path, weights.map_file(path))
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(f"{path}: model_type={str(kind)[:80]!r} is no architecture that lmlab has"
                        f"{did_you_mean(kind, FAMILIES)}; it has {', '.join(FAMILIES)}")
    kwargs, params, missing = assemble(FAMILIES[kind], values, weights.read(folder), path)
    said = values.get("architectures")
    architecture = str(said[0]) if isinstance(said, list) and said else FAMILIES[kind].heads[0][0]
    extras = {"architecture": architecture, "missing": missing, "generation": _generation(folder, values)}
    return Loaded(kwargs, params, tokenizers.load(folder), extras | ({"embedding": embedding} if embedding else {}))


def assemble(family, values, tensors, path) -> tuple[dict, dict, list]:
    """(the Spec's keyword arguments, parameters, parts of the family that have no weights) of a model.

    Args:
      family: of FAMILIES. values: of its config.json. tensors: {name: array, or what has a shape and becomes one}.
      path: of the config, for messages.
    Raises:
      UserError: as `load`.
    """
    kwargs, tensors = from_hf(family, values, path), _index(family, tensors)
    if (depth := max(kwargs["layers"], kwargs.get("encoder_layers", 0))) > len(tensors):
        raise UserError(f"{path} asks for {depth} layers, and there are {len(tensors)} tensors, so that some are "
                        "missing; fetch the model again")
    largest = max(math.prod(tensor.shape) for tensor in tensors.values())
    for field in ("width", "head_dim", "relative_buckets"):  # what tables are computed of, before shapes are compared
        if kwargs.get(field, 0) > largest:
            raise UserError(f"{path} asks for a {field} of {kwargs[field]}, and no tensor is so large; fetch the model "
                            "again")
    missing = _fit(family, kwargs, tensors)
    params, empty = _fill(family, shapes(Spec(**kwargs)), tensors, path)
    return kwargs, params, missing + empty


def save(folder, kwargs, params, tokenizer=None) -> str:
    """Writes a folder that transformers loads: config.json, model.safetensors, the tokenizer's files.

    RoBERTa's class counts positions by the tokens that are not pad_token_id, the row before its first position. Where
    the tokenizer pads with another id, the same network is written as BERT, which counts all tokens. The first
    Transformer is written as Marian's, whose bias of the logits is zero then.

    Args:
      kwargs: of the Spec. params: nested dict of arrays. tokenizer: None for none.
    Returns:
      the class of transformers that it is for.
    Raises:
      UserError: where no architecture of Hugging Face's is this network; it names what differs in the nearest.
    """
    folder, spec = Path(folder), Spec(**kwargs)
    kind, architecture = find(spec)
    if kind == "roberta" and tokenizer is not None and tokenizer.specials.get("pad") != spec.position_offset - 1:
        rows = np.asarray(params["position_embedding"])[spec.position_offset:]
        return save(folder, {**kwargs, "position_offset": 0}, {**params, "position_embedding": rows}, tokenizer)
    family = FAMILIES[kind]
    arrays = {path: np.asarray(x) for path, x in flax.traverse_util.flatten_dict(params, sep="/").items()}
    if spec.encoder_layers and "head_bias" in family.names:
        arrays.setdefault("head_bias", np.zeros(spec.vocab_size, np.float32))
    bare, tensors = spec.head == "linear" and "head_transform" in family.names, {}
    found, without = places(family, {path: x.shape for path, x in arrays.items()})
    for place in found:
        tensor = np.array(place.of(arrays), np.float32, order="C").reshape(place.shape) - np.float32(place.offset)
        if not bare:
            tensors |= dict.fromkeys(place.names, tensor)
        elif place.names[0].startswith(family.prefix):
            tensors[place.names[0].removeprefix(family.prefix)] = tensor
        else:
            without.append(place.path)
    if lost := [path for path in without if arrays[path].any()]:
        raise UserError(f"{folder}: {architecture} has no place for the weights of {lost[0]}; train it as another kind "
                        "of network, or set them to zero")
    weights.write(folder, tensors)
    values = {"architectures": [architecture], "model_type": kind, **_ids(tokenizer, spec), **to_hf(family, spec),
              "torch_dtype": "float32"}
    write_json(folder / "config.json", values)
    if tokenizer is not None:
        tokenizers.save(tokenizer, folder)
    return architecture


def find(spec) -> tuple[str, str]:
    """(model_type, class) of the architecture that is exactly the network of `spec`.

    Raises:
      UserError: where there is none; it names the fields in which the nearest differs.
    """
    nearest = None
    for kind, family in FAMILIES.items():
        try:
            kwargs = from_hf(family, to_hf(family, spec))
        except UserError:
            continue
        for architecture, fields in family.heads:
            pooler = {"pooler": spec.pooler} if "pooler" in family.names else {}  # unless the class says
            bias = {"head_bias": spec.head_bias} if spec.encoder_layers and "head_bias" in fields else {}  # or zeros
            differs = difference(spec, Spec(**{**kwargs, **pooler, **fields, **bias}))
            if not differs:
                return kind, architecture
            if nearest is None or len(differs) < len(nearest[1]):
                nearest = architecture, differs
    architecture, differs = nearest
    said = ", ".join(f"config.model.{field}={getattr(spec, field)!r}" for field in differs)
    raise UserError(f"no architecture of Hugging Face's has {said} together with the rest; the nearest is "
                    f"{architecture}, without it")


def _index(family, tensors):
    """{the name that the family's table has: tensor}, without the buffers that older files hold."""
    bare = {name.removeprefix(family.prefix).split(".")[0] for names in family.names.values()
            for name in names.split() if family.prefix and name.startswith(family.prefix)}
    found = {}
    for name, tensor in tensors.items():
        for old, new in _OLD.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        if not _BUFFERS.search(name):
            found[family.prefix + name if name.split(".")[0] in bare else name] = tensor
    return found


def _fit(family, kwargs, tensors):
    """Adapts `kwargs` to the heads that a file has, and drops the head that repeats the embedding. Returns the parts
    of the family that are not there."""
    missing = []
    for module, (field, present, absent) in _HEADS.items():
        if module in family.names:
            there = any(name + end in tensors for name in family.names[module].split("|") for end in ("", ".weight"))
            kwargs[field] = present if there else absent
            missing += [] if there else [module]
    if "head_transform" in missing:  # a bare encoder: whatever its config says of a head that it has not got
        kwargs["tied"] = True
    head = f"{family.names['head']}.weight"
    if kwargs["tied"] and head in tensors:
        kwargs["tied"] = _same(tensors[head], tensors.get(family.names["token_embedding"]))
        if kwargs["tied"]:
            del tensors[head]
    return missing


def _same(a, b):
    """Whether two tensors are equal, compared piece by piece."""
    pieces = (slice(i, i + 1024) for i in range(0, len(a), 1024))
    return b is not None and a.shape == b.shape and all(np.array_equal(a[piece], b[piece]) for piece in pieces)


def _fill(family, shapes, tensors, path):
    """(nested parameters, parts left zero): every tensor checked, then each copied to its place."""
    found, without = places(family, shapes)
    found = [(place, next((name for name in place.names if name in tensors), None)) for place in found]
    empty = {place.path for place, name in found if name is None and place.path.startswith("pair_head/")} | set(without)
    found = [(place, name) for place, name in found if place.path not in empty]
    for place, name in found:
        if name is None:
            raise UserError(f"{path} asks for tensor {place.names[0]!r}, which is missing; fetch the model again")
        if tuple(tensors[name].shape) != place.shape:
            raise UserError(f"{path}: tensor {name!r} has shape {tuple(tensors[name].shape)}, and by this config "
                            f"{place.shape}; fetch the model again")
        if getattr(tensors[name], "dtype", np.float32) not in _FLOATS:
            raise UserError(f"{path}: tensor {name!r} is of type {tensors[name].dtype}; only float32, float16, "
                            "bfloat16 and float64 are read")
    words = tensors.get(family.names["token_embedding"])
    for name in (name for name in family.repeated if name.endswith("embed_tokens.weight") and name in tensors):
        if not _same(tensors[name], words):
            raise UserError(f"{path}: tensor {name!r} is not {family.names['token_embedding']!r}; only one table of "
                            "token embeddings for both sides can be expressed")
    known = {name for place, _ in found for name in place.names} | set(family.repeated)
    if unused := sorted(set(tensors) - known):
        raise UserError(f"{path}: tensor {unused[0][:80]!r} ({len(unused)} in all) has no place in the network of this "
                        "config; load a model without it")
    arrays = {place: (np.zeros if place in empty else np.empty)(shape, np.float32) for place, shape in shapes.items()}
    for place, name in found:
        view = place.of(arrays)
        view[...] = np.asarray(tensors[name]).reshape(view.shape)
        if place.offset:
            view += place.offset
    return flax.traverse_util.unflatten_dict(arrays, sep="/"), sorted({name.split("/")[0] for name in empty})


def _generation(folder, values):
    """The ids that generation starts, stops and pads with: {role: id, or a list of them for "eos"}."""
    path = folder / "generation_config.json"
    values = {**values, **(weights.read_json(path, weights.map_file(path)) if path.is_file() else {})}
    return {role: values[f"{role}_token_id"] for role in _ROLES if values.get(f"{role}_token_id") is not None}


def _ids(tokenizer, spec):
    """The config's ids of special tokens. One that is not there is null, or the class would take its own; but some
    encoder-decoders must have numbers to pad and to start with."""
    eod, roles = (None, {}) if tokenizer is None else (tokenizer.eod, tokenizer.specials)
    ids = {"bos": roles.get("bos", eod), "eos": eod, "pad": roles.get("pad")}
    if spec.encoder_layers:
        number = eod or 0
        ids |= {"pad": roles.get("pad", number), "decoder_start": roles.get("decoder_start", number)}
    return {f"{role}_token_id": None if i == -1 else i for role, i in ids.items()}
