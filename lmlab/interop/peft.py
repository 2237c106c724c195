"""Low-rank adapters in the format of Hugging Face's PEFT, in and out: adapter_config.json and
adapter_model.safetensors.

PEFT has a pair of matrices for each torch module, ours one for each fused kernel: what comes in stands side by side in
one pair of as many ranks, each with zeros where it has nothing to say; what goes out is the one pair, cut.
"""

import math
import re
from pathlib import Path

import numpy as np

from lmlab.interop import weights
from lmlab.interop.families import FAMILIES
from lmlab.interop.huggingface import find
from lmlab.interop.names import places, shapes
from lmlab.utils.errors import UserError
from lmlab.utils.files import write_json
from lmlab.utils.trees import by_path, from_paths, join

CONFIG, FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_TWO_INPUTS = ("attention/out/kernel", "cross/out/kernel")  # kernels that contract heads and their features
# What a config may ask for that our adapters have not; each at its usual value changes nothing.
_USUAL = {"bias": "none", "use_dora": False, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
          "layer_replication": None, "trainable_token_indices": None, "target_parameters": None}


def load(folder, spec, params) -> dict:
    """`params` of the network of `spec` with the adapters of a folder beside their kernels.

    Raises:
      UserError: where the folder is damaged, or asks for what adapters here have not; it names the file and what.
    """
    folder = Path(folder)
    rank, scale = _read_config(folder / CONFIG)
    tensors, made, used = weights.read_file(folder / FILE), {}, set()
    conv1d, kernels = _kernels(spec)
    sizes = shapes(spec)
    for path, layers in kernels.items():
        names = [[_names(place, tensors) for place in layer] for layer in layers]
        parts = [part for part in range(len(layers[0])) if any(layer[part] for layer in names)]
        if not parts:
            continue
        used |= {name for layer in names for pair in layer for name in pair}
        shape, cut = sizes[path], 1 + _inputs(path)
        a = np.zeros((*shape[:cut], rank * len(parts)), np.float32)
        b = np.zeros((shape[0], rank * len(parts), *shape[cut:]), np.float32)
        for layer, (places_of, names_of) in enumerate(zip(layers, names)):
            for number, part in enumerate(parts):
                if names_of[part]:
                    here = slice(rank * number, rank * (number + 1))
                    pair = [_sized(folder, tensors, name, wanted) for name, wanted in zip(
                        names_of[part], _shapes(places_of[part], rank, conv1d))]
                    a[layer][..., here] = pair[0].T.reshape(*shape[1:cut], rank)
                    view = _view(places_of[part], path, b[layer, here])
                    view[...] = (pair[1].T if conv1d else pair[1]).reshape(view.shape)
        branch = path.removesuffix("/kernel")
        made |= {f"{branch}/lora_a": a, f"{branch}/lora_b": b,
                 f"{branch}/lora_scale": np.full(shape[0], scale, np.float32)}
    if unused := sorted(set(tensors) - used):
        raise UserError(f"{folder / FILE}: tensor {unused[0][:80]!r} ({len(unused)} in all) has no place in this "
                        "network; load the adapter of this model")
    return join(params, from_paths(made))


def save(folder, spec, adapters, base=""):
    """Writes the adapters of a network (nested parameters, as adapt.lora.extract gives them) as PEFT reads them.

    base: what the config says that they belong to.
    Raises:
      UserError: where no architecture of Hugging Face's is this network, or there is no adapter.
    """
    arrays, tensors, modules, scales = by_path(adapters), {}, set(), set()
    conv1d, kernels = _kernels(spec)
    rank = max((x.shape[-1] for path, x in arrays.items() if path.endswith("lora_a")), default=0)
    for path, layers in kernels.items():
        branch = path.removesuffix("/kernel")
        if f"{branch}/lora_a" not in arrays:
            continue
        a, b, scale = (np.asarray(arrays[f"{branch}/lora_{name}"], np.float32) for name in ("a", "b", "scale"))
        more = rank - a.shape[-1]  # all of one rank: what is missing is zeros
        a = np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, more)])
        b = np.pad(b, [(0, 0), (0, more)] + [(0, 0)] * (b.ndim - 2))
        for layer, place in ((layer, place) for layer, found in enumerate(layers) for place in found):
            view = _view(place, path, b[layer])
            name = _PREFIX + place.names[0].removesuffix(".weight")
            tensors[f"{name}.lora_A.weight"] = np.ascontiguousarray(a[layer].reshape(-1, rank).T)
            tensors[f"{name}.lora_B.weight"] = np.ascontiguousarray(
                view.reshape(rank, -1).T if conv1d else view.reshape(-1, rank))
            modules.add(name.removeprefix(_PREFIX))
            scales.add(float(scale[layer]))
    if len(scales) != 1:
        raise UserError(f"{folder}: PEFT's format wants adapters of one scale, and here are {len(scales)}")
    scale = scales.pop()
    weights.write(folder, tensors, FILE)
    write_json(Path(folder) / CONFIG, {
        "peft_type": "LORA", "r": rank, "lora_alpha": scale * rank, "target_modules": sorted(modules), "bias": "none",
        "lora_dropout": 0.0, "base_model_name_or_path": base, "inference_mode": True,
        "fan_in_fan_out": conv1d})


def _read_config(path) -> tuple[int, float]:
    """(rank, scale) that a config says."""
    values = weights.read_json(path, weights.map_file(path))
    if values.get("peft_type") != "LORA":
        raise UserError(f"{path}: peft_type={str(values.get('peft_type'))[:80]!r} is not supported; LORA is")
    for name, usual in _USUAL.items():
        if values.get(name, usual) not in (usual, None):
            raise UserError(f"{path}: {name}={str(values[name])[:80]!r} is not supported; only {usual!r} is")
    rank, alpha = values.get("r"), values.get("lora_alpha")
    if type(rank) is not int or not 0 < rank < 2 ** 16 or type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise UserError(f"{path}: r={str(rank)[:80]!r} and lora_alpha={str(alpha)[:80]!r} must be a positive whole "
                        "number and a number")
    return rank, alpha / (rank ** 0.5 if values.get("use_rslora") else rank)


def _kernels(spec) -> tuple[bool, dict]:
    """(whether matrices are stored (in, out); {path of a kernel: for each layer, the places of the torch modules that
    it is made of})."""
    family, found = FAMILIES[find(spec)[0]], {}
    for place in places(family, shapes(spec))[0]:
        if place.path.endswith("/kernel") and place.layer >= 0:
            layers = found.setdefault(place.path, [])
            if place.layer == len(layers):
                layers.append([])
            layers[place.layer].append(place)
    return family.conv1d, found


def _names(place, tensors) -> tuple:
    """The names of A and B of a place among the tensors, with or without what stands before a bare network's; ()."""
    for name in place.names:
        module = name.removesuffix(".weight")
        for bare in (module, re.sub(r"^[a-z]+\.", "", module)):
            pair = tuple(f"{_PREFIX}{bare}.lora_{part}.weight" for part in "AB")
            if all(name in tensors for name in pair):
                return pair
    return ()


def _inputs(path) -> int:
    """Axes that a kernel contracts."""
    return 2 if path.endswith(_TWO_INPUTS) else 1


def _view(place, path, b) -> np.ndarray:
    """The part of B of one layer, (r, ...), that is one torch module's: the kernel's view, the rank in the place of its
    inputs."""
    return place.view(b.reshape(b.shape[0], *[1] * (_inputs(path) - 1), *b.shape[1:]))


def _shapes(place, rank, conv1d):
    """The shapes of a module's A and B."""
    outputs, inputs = reversed(place.shape) if conv1d else place.shape
    return (rank, inputs), (outputs, rank)


def _sized(folder, tensors, name, shape) -> np.ndarray:
    """A tensor, in float32; a UserError where its shape is another."""
    if tensors[name].shape != shape:
        raise UserError(f"{folder / FILE}: tensor {name!r} has shape {tensors[name].shape}, and in this network "
                        f"{shape}; load the adapter of this model")
    return np.asarray(tensors[name], np.float32)
