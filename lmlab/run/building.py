"""A config, and what it builds: model, objective, optimizer."""

import inspect

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from lmlab import config as configs
from lmlab import models, objectives
from lmlab.adapt import freezing, heads, lora, quantised
from lmlab.data import corpus, tokenizers
from lmlab.objectives import distillation, masked
from lmlab.train import loop, optimizer, sharding
from lmlab.utils.errors import UserError


def sections(config) -> dict:
    """The functions that take each section of `config` as their keyword arguments."""
    for name in configs.NAMED:
        try:
            config[name]["name"]
        except (KeyError, TypeError):
            raise UserError(f"config.{name}.name is missing") from None
    objective = objectives.find(config.objective.name)
    return {"data": (corpus.build,), "tokenizer": (tokenizers.build,), "model": (models.find(config.model.name).Spec,),
            "objective": (objective.loss, objective.features), "optimizer": (optimizer.build,),
            "train": (loop.Settings,), "mesh": (sharding.make_mesh,), "evals": (loop.Evals,),
            "adapt": (freezing.Settings,), "distil": (distillation.Settings,)}


def complete(config: dict, assignments: dict) -> ConfigDict:
    """The whole, locked config: `config`'s values and `assignments` over every section's defaults, all checked."""
    config = ConfigDict({**configs.PLAIN, **config})
    configs.complete(config, sections(config))
    return configs.override(config, assignments)


def from_presets(presets, arg, *, objective, model="transformer") -> ConfigDict:
    """The whole config that a config file's argument asks for: "preset,section.key=value,...".

    Args:
      presets: name -> sections, the first being the usual one. objective, model: their names where a preset has none.
    """
    preset, assignments = configs.parse_arg(arg, presets)
    chosen = dict(presets[preset])
    for section, name in (("model", model), ("objective", objective)):
        chosen[section] = {"name": name, **chosen.get(section, {})}
    return complete(chosen, assignments)


def check(config):
    """Refuses, before any device is touched, what no function takes or no value allows. Raises UserError."""
    configs.check(config, sections(config))
    settings = loop.Settings(**config.train)
    loop.Evals(**config.evals)
    freezing.Settings(**config.adapt)
    teaching = distillation.Settings(**config.distil)
    if teaching.teacher and config.objective.name not in distillation.OBJECTIVES:
        raise UserError(f"config.distil.teacher does not go with config.objective.name={config.objective.name}; one of "
                        f"{', '.join(distillation.OBJECTIVES)}")
    if teaching.layers and config.init_from:
        raise UserError(f"config.distil.layers={teaching.layers} begins from the teacher, and config.init_from="
                        f"{config.init_from} from another; leave one of them out")
    corpus.check(**config.data)
    tokenizers.check(config.tokenizer.name)
    model = build_model(config, vocab_size=2)
    length = settings.length or model.spec.context
    if length > model.spec.context:
        raise UserError(f"config.train.length={length} is over config.model.context={model.spec.context}")
    objective = objectives.find(config.objective.name)
    objective.check(model.spec, **_settings(config))
    whole = getattr(objective, "compares", lambda **_: False)(**_settings(config))
    if whole and (settings.accumulation > 1 or settings.parallel == "pmap"):
        raise UserError(f"config.objective.name={config.objective.name} compares all texts of a batch, which "
                        f"config.train.accumulation={settings.accumulation}, config.train.parallel={settings.parallel} "
                        "would cut up; use 1 and jit")
    build_optimizer(config, model)


def build_model(config, vocab_size, labels=None):
    """The model of `config` for a vocabulary, computing in config.train.precision, with the objective's head for these
    labels where it has one; labels=None: without."""
    head = getattr(objectives.find(config.objective.name), "head", None)
    build = lambda **more: models.build(**{**config.model, **more}, vocab_size=vocab_size,
                                        dtype=jnp.dtype(config.train.precision))
    if head is None or labels is None:
        return build()
    body = build(head_bias=False)  # it makes no logits of tokens
    return heads.Headed(body, **head(body.spec, labels, **_settings(config)))


def build_objective(config, vocab_size):
    """The objective of `config`: (apply, params, batch, keys_B) -> (terms, metrics)."""
    function = objectives.find(config.objective.name).loss
    more = {"vocab_size": vocab_size} if "vocab_size" in inspect.signature(function).parameters else {}
    return objectives.build(config.objective.name, **configs.taken(function, config.objective), **more)


def build_optimizer(config, model):
    """(optimizer, schedule) of `config` for a model."""
    transform, schedule = optimizer.build(steps=config.train.steps, narrowing=model.spec.narrowing, **config.optimizer)
    return freezing.layerwise(transform, freezing.Settings(**config.adapt)), schedule


def trains(config):
    """path of a parameter -> whether it trains by config.adapt; None: all do."""
    return freezing.trains(freezing.Settings(**config.adapt))


def reads(config) -> str | None:
    """The kind of examples that the objective of `config` learns from; None: plain text or pairs."""
    return getattr(objectives.find(config.objective.name), "READS", None)


def task(config) -> str:
    """The task that a run is measured by: config.evals.task, or that of its objective; "": by the objective itself."""
    usual = config.objective.name if reads(config) else ""
    return config.evals.task or getattr(objectives.find(config.objective.name), "TASK", usual)


def initialiser(config, model):
    """key -> parameters of a new model, boxed with the names of their logical axes, as config.adapt keeps them: with
    adapters, in four bits."""
    adapt = config.adapt

    def init(key):
        begin = heads.init if isinstance(model, heads.Headed) else models.find(config.model.name).init
        params = begin(model, key)
        if adapt.lora_rank:
            params = lora.add(params, jax.random.fold_in(key, 1), rank=adapt.lora_rank, alpha=adapt.lora_alpha,
                              pattern=adapt.lora_targets)
        return quantised.quantise(params) if adapt.base == "nf4" else params
    return init


def unit(config) -> str:
    """What the objective's loss is a mean over: "text", all tokens of a text, each once, so that bits per byte can be
    told; "token", some of them; else the objective's UNIT: "example" for those with a head that name none."""
    objective = objectives.find(config.objective.name)
    usual = "example" if hasattr(objective, "head") else "text" if objective.WHOLE else "token"
    return getattr(objective, "UNIT", usual)


def predicts(config) -> bool:
    """Whether the objective has the network predict tokens; False where it has a head, or compares embeddings."""
    objective = objectives.find(config.objective.name)
    return not hasattr(objective, "head") and getattr(objective, "LOGITS", True)


def targets(config, spec, length) -> int | None:
    """The tokens of a row of `length` whose logits training makes; None: all of them."""
    if not predicts(config):
        return 0
    return masked.most(length, config.objective.rate) if spec.attends == "full" else None


def _settings(config):
    return {name: value for name, value in config.objective.items() if name != "name"}
