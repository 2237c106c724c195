"""The teacher of a config (config.distil): loaded, checked against the network that learns from it, and cut down to be
one."""

import dataclasses
import functools

import jax
import numpy as np
from ml_collections import ConfigDict

from lmlab.data import tokenizers
from lmlab.objectives import distillation
from lmlab.run.building import build_model, initialiser
from lmlab.run.folder import read_record
from lmlab.run.loading import LM, begin_from, check_tokenizer, load
from lmlab.utils.errors import UserError
from lmlab.utils.files import sha256
from lmlab.utils.trees import by_path, map_with_path


def begin(config, workdir="") -> tuple[ConfigDict, LM | None, LM | None]:
    """(config, what it begins from, its teacher): as `loading.begin_from`, from the teacher's layers where
    config.distil says so; without config.init_from the teacher's tokenizer is used."""
    teacher, layers = teacher_of(config), config.distil.layers
    if layers:
        config.model.layers = layers
    config, start = begin_from(config, workdir, shallow(teacher, layers) if layers else None)
    if teacher and not config.init_from:
        check_tokenizer(config, f"config.distil.teacher={config.distil.teacher}")
    return config, start, teacher


def teacher_of(config) -> LM | None:
    """The network that config.distil.teacher names; None where it names none.

    Raises:
      UserError: where there is no model, or it has no weights that the objective's predictions need.
    """
    if not distillation.Settings(**config.distil).teacher:
        return None
    lm = load(config.distil.teacher)
    if lost := lm.config.get("extras", {}).get("missing"):
        raise UserError(f"config.distil.teacher={config.distil.teacher} has no weights for {lost[0]}, so that it "
                        "predicts nothing; train it for the objective first")
    return lm


def shallow(lm, layers) -> LM:
    """The network with so many of its layers, evenly spaced, the first among them (Sanh et al. 2019, section 3); of an
    encoder-decoder the decoder's.

    Raises:
      UserError: where it has fewer.
    """
    had = lm.config.model.layers
    if layers > had:
        raise UserError(f"config.distil.layers={layers}, and config.distil.teacher has {had}; set it to {had} or less")
    chosen = np.arange(layers) * had // layers
    params = map_with_path(lambda path, x: x[chosen] if "trunk/blocks/" in path else x, lm.params)
    config = ConfigDict(lm.config.to_dict())
    config.model.layers = layers
    return dataclasses.replace(lm, params=params, config=config.lock(),
                               model=build_model(config, lm.model.spec.vocab_size, lm.labels))


def taught(config, teacher, objective, data, model, folder=""):
    """(objective, constants) as step.make_strategy takes them: `objective` with the teacher beside it, where there is
    one.

    Args:
      teacher: an LM, or None. data, model: what is learned from, and what learns. folder: of the run that goes on; "":
        a new one.
    Raises:
      UserError: where `model` cannot learn from the teacher, or the run in `folder` learned from another.
    """
    if teacher is None:
        return objective, {}
    _check_data(config, teacher, data)
    if folder and read_record(folder).get("teacher") != digest(teacher):
        raise UserError(f"{folder} learned from another network than config.distil.teacher={config.distil.teacher} "
                        "holds now; restore that, or use a new --workdir")
    return beside(config, teacher, objective, model)


def beside(config, teacher, objective, model):
    """As `taught`, whatever the data. Raises a UserError where the two networks do not go together."""
    if teacher is None:
        return objective, {}
    _check(config, teacher, model)
    both = functools.partial(distillation.taught, teacher_apply=teacher.model.apply, own=objective,
                             objective=config.objective, settings=distillation.Settings(**config.distil))
    return both, {"teacher": (teacher.params, initialiser(teacher.config, teacher.model))}


def _check_data(config, teacher, data):
    """Raises a UserError where the teacher reads or tells something else than `data` have."""
    named = f"config.distil.teacher={config.distil.teacher}"
    if tokenizers.digest(data.tokenizer) != tokenizers.digest(teacher.tokenizer):
        raise UserError(f"{named} has another tokenizer than this network, which would not read the same rows; begin "
                        "from a network with the teacher's, or leave config.init_from out")
    if data.labels != teacher.labels:
        told = lambda labels: "no head" if labels is None else ", ".join(labels)[:200] or "a number"
        raise UserError(f"{named} tells {told(teacher.labels)}, and this network {told(data.labels)}; train the "
                        "teacher by the same objective on data with the same labels")
    kind = lambda config: config.objective.get("kind", "")
    if data.labels is not None and kind(config) != kind(teacher.config):
        raise UserError(f"{named} was trained with config.objective.kind={kind(teacher.config)}, and this is "
                        f"{kind(config)}; use the same")


def _check(config, teacher, model):
    """Raises a UserError where `model` cannot learn from `teacher`."""
    named, mine, theirs = f"config.distil.teacher={config.distil.teacher}", model.spec, teacher.model.spec
    for name, what in (("attends", "looks"), ("vocab_size", "words")):
        if getattr(mine, name) != getattr(theirs, name):
            raise UserError(f"{named} has {name}={getattr(theirs, name)!r} and this network {getattr(mine, name)!r}, "
                            "so that it cannot tell what is asked of this one; use another teacher")
    if (mine.encoder_layers > 0) != (theirs.encoder_layers > 0):
        raise UserError(f"{named} and this network must both have an encoder beside the decoder, or neither")
    length = config.train.length or config.model.context
    if length > theirs.context:
        raise UserError(f"{named} reads at most {theirs.context} tokens, and a row has {length}; set "
                        "config.train.length")
    if config.distil.hidden and mine.width != theirs.width:
        raise UserError(f"config.distil.hidden={config.distil.hidden} compares states, and {named} has "
                        f"config.model.width={theirs.width}, this network {mine.width}; use the same, or set it to 0")


def digest(teacher) -> str:
    """Equal for equal parameters; "" for None."""
    if teacher is None:
        return ""
    parts = (part for path, x in sorted(by_path(jax.device_get(teacher.params)).items())
             for part in (path.encode(), np.ascontiguousarray(x).tobytes()))
    return sha256("".join(sha256(part) for part in parts))
