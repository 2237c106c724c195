"""A trained model with all that is needed to use it, from a run folder or from elsewhere."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from lmlab import config as configs
from lmlab import interop
from lmlab.adapt import freezing, lora, quantised
from lmlab.interop import peft, weights
from lmlab.run.building import build_model, complete, initialiser, sections
from lmlab.run.folder import load_config, load_labels, load_tokenizer
from lmlab.train import checkpoint
from lmlab.utils.errors import UserError
from lmlab.utils.trees import by_path, from_paths

HOW = ("dropout", "attention", "unroll", "matmul", "remat")  # of config.model: what a network that is there leaves open
SCORED = 1024  # tokens of a row when a model from elsewhere is evaluated, or its context where that is less


@dataclasses.dataclass(frozen=True)
class LM:
    """A trained language model: all that is needed to use it."""
    model: Any          # a flax.linen module: model.apply({"params": params}, tokens_BT) -> logits_BTV
    params: dict        # plain nested dict of arrays
    tokenizer: Any      # text <-> ids
    config: ConfigDict  # of the run that made it
    step: int           # of the checkpoint
    labels: tuple | None = None  # of a model with a head: what its outputs are of


def load(folder, step: int | str = "newest", adapter="") -> LM:
    """Loads a model on any machine, whatever wrote it: no mesh, no config file, no accelerator needed.

    Args:
      folder: a run folder; or weights from elsewhere: a Hugging Face folder, a .gguf file, "catalog:NAME".
      step: which checkpoint of a run: "newest", the newest whole one; "best", that with the best score on the way; or
        its number.
      adapter: a folder of PEFT's with low-rank adapters to put beside the kernels; "": none.
    Raises:
      UserError: where there is no model, no whole checkpoint, or a tokenizer other than the one trained with.
    """
    lm = _load_foreign(folder) if _is_foreign(folder) else _load_run(Path(folder), step)
    return dataclasses.replace(lm, params=peft.load(adapter, lm.model.spec, lm.params)) if adapter else lm


def _load_run(folder, step):
    """The model of a run folder."""
    config = load_config(folder)
    tokenizer = load_tokenizer(folder)
    saved = folder / "checkpoints"
    warn = functools.partial(print, file=sys.stderr)
    if not (step in ("newest", "best") or str(step).isdecimal()):
        raise UserError(f"step={step!r} must be newest, best, or the number of a checkpoint")
    step = checkpoint.best(saved) if step == "best" else step
    step = checkpoint.newest(saved, log=warn) if step in ("newest", None) else checkpoint.whole(saved, int(step))
    if step is None:
        raise UserError(f"{folder} has no checkpoint yet: train it further, or wait for its first save")
    labels = load_labels(folder)
    model, params = build_model(config, tokenizer.vocab_size, labels), checkpoint.restore_params(saved, step)
    _check_shapes(config, model, params, folder)
    return LM(model, params, tokenizer, config, step, labels)


def begin_from(config, workdir="", start=None) -> tuple[ConfigDict, LM | None]:
    """The config with the network and the tokenizer of config.init_from, and what is there; (config, None) where that
    names nothing, and where `workdir` holds a run that has begun from there: its network is taken.

    start: an LM to begin from in its place.
    Raises:
      UserError: where there is no model, or config.model or config.tokenizer asks for another one.
    """
    if not config.init_from and start is None:
        return config, None
    begun = Path(workdir) / "config.json"
    known = load_config(workdir) if workdir and begun.is_file() else None
    if known is not None and known.init_from == config.init_from and known.distil == config.distil:
        start = None
    else:
        start = start or load(config.init_from)
    teacher = f"config.distil.teacher={config.distil.teacher}"
    source = f"config.init_from={config.init_from}" if config.init_from else teacher
    model = (known if start is None else start.config).model
    usual = {section: configs.defaults(*functions) for section, functions in sections(config).items()}
    with config.unlocked():
        for name, value in model.items():
            if name in HOW:
                continue
            if config.model[name] not in (value, usual["model"].get(name, "transformer")):
                raise UserError(f"config.model.{name}={config.model[name]!r}, and the network of {source} has "
                                f"{value!r}; leave it out, or begin from another network")
            config.model[name] = value
    check_tokenizer(config, source)
    return config, start


def check_tokenizer(config, source):
    """Raises a UserError where config.tokenizer asks for another one than that of `source`, a network that brings its
    own."""
    usual = configs.defaults(*sections(config)["tokenizer"])
    for name, value in config.tokenizer.items():
        if value != usual[name]:
            raise UserError(f"config.tokenizer.{name}={value!r} does not go with {source}, whose own tokenizer is "
                            "used; leave it out")


def start_of(config, start=None) -> LM:
    """`start`, what `begin_from` gave, or the same loaded again, where it gave nothing since the run has begun before.

    Raises:
      UserError: where config.init_from names nothing.
    """
    if not config.init_from:
        raise UserError(f"config.objective.name={config.objective.name} holds a network against the one that it began "
                        "from; name that in config.init_from")
    return start or load(config.init_from)


def given(start, config, model) -> dict:
    """The parameters of `start`, an LM, that have a place in the model of `config`: nested, numpy, adapters merged,
    kept as config.adapt.base says; {} for None. A task's head comes along where it is of as many labels. Prints what of
    the model trains.

    Raises:
      UserError: where one has another shape there, or is not finite.
    """
    if start is None:
        return {}
    bare = lambda path: path.removeprefix("body/")
    kept = quantised.quantise if config.adapt.base == "nf4" else lambda params: params
    source = {bare(path): x for path, x in by_path(kept(lora.merge(start.params))).items()}
    found, shapes = {}, nn.meta.unbox(jax.eval_shape(initialiser(config, model), jax.random.key(0)))
    for path, leaf in by_path(shapes).items():
        x = source.get(bare(path))
        if x is None or path.startswith(freezing.HEAD) and x.shape != leaf.shape:
            continue
        if x.shape != leaf.shape:
            raise UserError(f"config.init_from: {path} has shape {x.shape} there and {leaf.shape} by this config")
        if not np.isfinite(x).all():
            raise UserError(f"config.init_from: {path} holds numbers that are not finite; begin from another "
                            "checkpoint")
        found[path] = np.asarray(x)
    if jax.process_index() == 0:
        print(freezing.table(shapes, freezing.Settings(**config.adapt), found), file=sys.stderr)
    return from_paths(found)


def _is_foreign(source):
    """Whether it is a model from elsewhere, and no run folder."""
    if str(source).startswith("catalog:") or str(source).endswith(".gguf"):
        return True
    try:
        path = Path(source) / "config.json"
        return "model_type" in weights.read_json(path, weights.map_file(path))
    except (OSError, ValueError):
        return False


def _load_foreign(source):
    """The model of a Hugging Face folder, a GGUF file or the catalog; its config holds what is known of it."""
    loaded = interop.load(source)
    if loaded.tokenizer is None:
        raise UserError(f"{source} has no tokenizer: put its tokenizer.json or vocabulary files beside config.json")
    spec = dict(loaded.kwargs)
    vocab_size = spec.pop("vocab_size")
    kind = "seq2seq" if spec.get("encoder_layers") else {"full": "masked", "prefix": "prefix"}.get(spec.get("attends"))
    config = complete({"model": {"name": "transformer", **spec}, "objective": {"name": kind or "causal"},
                       "train": {"length": min(SCORED, spec.get("context", SCORED))}}, {})
    with config.unlocked():
        config.source, config.extras = str(source), loaded.extras
    return LM(build_model(config, vocab_size), loaded.params, loaded.tokenizer, config, 0)


def _check_shapes(config, model, params, folder):
    """Raises a UserError where the parameters are not those of the model."""
    shapes = lambda tree: {path: tuple(leaf.shape) for path, leaf in by_path(tree).items()}
    wanted = shapes(nn.meta.unbox(jax.eval_shape(initialiser(config, model), jax.random.key(0))))
    found = shapes(params)
    for path in sorted(wanted | found):
        if wanted.get(path) != found.get(path):
            raise UserError(f"{folder}/config.json does not fit its checkpoints: {path} has shape {found.get(path)} "
                            f"there and {wanted.get(path)} by the config; restore the config from a copy")
