"""A config and its run folder: the one place below experiments/ that makes data, tokenizer, model, parameters of them.

    runs/x/  config.json run.json summary.json metrics.jsonl tokenizer/ checkpoints/STEP/ events.* plots/ samples/
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lmlab import config as configs
from lmlab import interop, models, objectives
from lmlab.data import corpus, loader, store, tokenizers
from lmlab.interop import weights
from lmlab.objectives import masked
from lmlab.train import checkpoint, loop, optimizer, sharding
from lmlab.utils import environment, sealed
from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes, write_text
from lmlab.utils.trees import by_path

SCORED = 1024  # tokens of a row when a model from elsewhere is evaluated, or its context where that is less


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
            "train": (loop.Settings,), "mesh": (sharding.make_mesh,), "evals": (loop.Evals,)}


def complete(config: dict, assignments: dict) -> ConfigDict:
    """The whole, locked config: `config`'s values and `assignments` over every section's defaults, all checked."""
    config = ConfigDict({"seed": 0, **config})
    configs.complete(config, sections(config))
    return configs.override(config, assignments)


def from_presets(presets, arg, *, objective, model="transformer") -> ConfigDict:
    """The whole config that a config file's argument asks for: "preset,section.key=value,...".

    Args:
      presets: name -> sections, the first being the usual one. objective, model: their names where a preset has none.
    """
    preset, assignments = configs.parse_arg(arg, presets)
    chosen = {name: dict(values) for name, values in presets[preset].items()}
    for section, name in (("model", model), ("objective", objective)):
        chosen[section] = {"name": name, **chosen.get(section, {})}
    return complete(chosen, assignments)


def check(config):
    """Refuses, before any device is touched, what no function takes or no value allows. Raises UserError."""
    configs.check(config, sections(config))
    settings = loop.Settings(**config.train)
    loop.Evals(**config.evals)
    corpus.check(**config.data)
    tokenizers.check(config.tokenizer.name)
    model = build_model(config, vocab_size=2)
    length = settings.length or model.spec.context
    if length > model.spec.context:
        raise UserError(f"config.train.length={length} is over config.model.context={model.spec.context}")
    objectives.find(config.objective.name).check(model.spec, **_settings(config))
    optimizer.build(steps=settings.steps, narrowing=model.spec.narrowing, **config.optimizer)


def has_begun(folder) -> bool:
    """Whether a folder holds a run to go on with; a UserError where it holds checkpoints of who knows what."""
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return True
    if checkpoint.good_steps(folder / "checkpoints"):
        raise UserError(f"{folder} has checkpoints but no config.json, so that nothing tells what they are of; restore "
                        "it from a copy, or use a new --workdir")
    return False


def load_config(folder) -> ConfigDict:
    """The config of a run folder, fields that are newer than the run at their defaults.

    Raises:
      UserError: where config.json is missing, damaged, or not of the run that run.json tells of.
    """
    path = Path(folder) / "config.json"
    config = configs.load(path)
    try:
        config = complete(config.to_dict(), {})
        check(config)
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    noted = read_record(folder).get("config")
    if noted and (other := configs.another(complete(noted, {}), config)):
        raise UserError(f"{path} is not of the run that run.json beside it tells of (config.{other[0]} differs); "
                        "restore the two from a copy")
    return config


def build_model(config, vocab_size):
    """The model of `config` for a vocabulary, computing in config.train.precision."""
    return models.build(**config.model, vocab_size=vocab_size, dtype=jnp.dtype(config.train.precision))


def build_objective(config, vocab_size):
    """The objective of `config`: (apply, params, batch, keys_B) -> (terms, metrics)."""
    function = objectives.find(config.objective.name).loss
    return objectives.build(config.objective.name, **configs.taken(function, config.objective), vocab_size=vocab_size)


def scores_whole_texts(config) -> bool:
    """Whether the objective's loss, summed over a text, is the text's: then bits per byte can be told."""
    return objectives.find(config.objective.name).WHOLE


def targets(config, spec, length) -> int | None:
    """The tokens of a row of `length` whose logits training makes; None: all of them."""
    return masked.most(length, config.objective.rate) if spec.attends == "full" else None


def _settings(config):
    return {name: value for name, value in config.objective.items() if name != "name"}


class Data(NamedTuple):
    """A run's text, as documents and as tokens."""
    corpus: corpus.Corpus
    tokenizer: Any
    folder: Path          # of the token store

    def split(self, name, damaged_rows=0) -> store.TokenStore:
        """One split's tokens; its `meta` counts them. damaged_rows: as `store.open_split` takes it."""
        return store.open_split(self.folder, name, damaged_rows)


def prepare(config, tokenizer=None, progress=False) -> Data:
    """Reads the text, trains the tokenizer (unless one is given) and stores the tokens, each once and cached."""
    text = corpus.build(**config.data)
    if tokenizer is None:
        tokenizer = tokenizers.build(**config.tokenizer, corpus=text,
                                     specials=objectives.find(config.objective.name).SPECIALS)
    return Data(text, tokenizer, store.prepare(text, tokenizer, progress=progress))


def train_batches(config, data, process=0, processes=1):
    """Endless training batches: batch i is a function of (config.seed, i)."""
    rows = _rows(config, data.split("train", config.train.damaged_rows), data.tokenizer)
    if rows.count < config.train.batch:
        print(f"{data.corpus.name} makes {rows.count} rows, fewer than config.train.batch={config.train.batch}: a batch "
              "has some of them more than once", file=sys.stderr)
    return loader.train_batches(rows, batch=config.train.batch, seed=config.seed, ramp=config.train.ramp,
                                ramp_from=config.train.ramp_from, process=process, processes=processes)


def padding(config, data):
    """A batch of one row of padding: what every batch looks like."""
    rows = _rows(config, data.split("train"), data.tokenizer)
    return {**rows.make(np.array([-1]), np.array([0]), config.seed), "row": np.zeros(1, np.int32)}


def eval_batches(config, split, tokenizer, rows, process=0, processes=1):
    """Every row of a split once, `rows` rows a batch: the same at every call."""
    return loader.eval_batches(_rows(config, split, tokenizer), batch=rows, process=process, processes=processes)


def _rows(config, split, tokenizer):
    """The split as the objective wants it."""
    features = objectives.find(config.objective.name).features
    return features(split, tokenizer, length=config.train.length or config.model.context,
                    windows=config.train.windows, **configs.taken(features, config.objective))


@dataclasses.dataclass(frozen=True)
class LM:
    """A trained language model: all that is needed to use it."""
    model: Any          # a flax.linen module: model.apply({"params": params}, tokens_BT) -> logits_BTV
    params: dict        # plain nested dict of arrays
    tokenizer: Any      # text <-> ids
    config: ConfigDict  # of the run that made it
    step: int           # of the checkpoint


def load(folder, step: int = -1) -> LM:
    """Loads a model on any machine, whatever wrote it: no mesh, no config file, no accelerator needed.

    Args:
      folder: a run folder; or weights from elsewhere: a Hugging Face folder, a .gguf file, "catalog:NAME".
      step: which checkpoint of a run; -1: the newest whole one.
    Raises:
      UserError: where there is no model, no whole checkpoint, or a tokenizer other than the one trained with.
    """
    if _is_foreign(folder):
        return _load_foreign(folder)
    folder = Path(folder)
    config = load_config(folder)
    tokenizer = load_tokenizer(folder)
    saved = folder / "checkpoints"
    warn = functools.partial(print, file=sys.stderr)
    step = checkpoint.newest(saved, log=warn) if step < 0 else checkpoint.whole(saved, step)
    if step is None:
        raise UserError(f"{folder} has no checkpoint yet: train it further, or wait for its first save")
    model, params = build_model(config, tokenizer.vocab_size), checkpoint.restore_params(saved, step)
    _check_shapes(config, model, params, folder)
    return LM(model, params, tokenizer, config, step)


def restore(folder, step, target):
    """The state of a run at a step, laid out as `target`; a UserError where the checkpoint is of something else."""
    state = checkpoint.restore(Path(folder) / "checkpoints", step, target)
    if int(state["step"]) != step:
        raise UserError(f"{folder}/checkpoints/{step} holds step {int(state['step'])}, so somebody has copied or "
                        f"renamed it; remove it, or name it {int(state['step'])} again")
    return state


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


def save_tokenizer(tokenizer, folder):
    """Writes the tokenizer into the run, with its digest."""
    tokenizer.save(Path(folder) / "tokenizer")
    write_text(Path(folder) / "tokenizer" / "sha256", tokenizers.digest(tokenizer) + "\n")


def save_start(folder, config, data, resuming):
    """Writes what a run has before its first step, by process 0: config.json last, so that where it is, the rest is."""
    if jax.process_index() == 0:
        if not resuming:
            save_tokenizer(data.tokenizer, folder)
        save_record(folder, config, data)
        configs.save(config, Path(folder) / "config.json")


def load_tokenizer(folder):
    """The run's tokenizer; a UserError where its files are not those that were saved: only those are read."""
    folder = Path(folder) / "tokenizer"
    try:
        noted = read_bytes(folder / "sha256").decode("utf-8").strip()
        found = tokenizers.digest_of(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: the tokenizer is missing or damaged ({error}); restore it from a copy") from error
    if not found == noted == read_record(folder.parent).get("tokenizer", noted):
        raise UserError(f"{folder} is not the tokenizer that the run was trained with (its sha256 differs); restore "
                        "it from a copy")
    return tokenizers.load(folder)


def save_record(folder, config, data):
    """Writes run.json: the machine, the code, what belongs to the run, and the sessions before this one.

    To be written after the tokenizer, and before config.json: where that is, the rest is.
    """
    sealed.write(Path(folder) / "run.json", environment.describe() | {
        "config": config.to_dict(), "text": describe_text(data), "earlier_sessions": read_sessions(folder),
        "tokenizer": tokenizers.digest_of(Path(folder) / "tokenizer")})


def read_record(folder) -> dict:
    """run.json of a run; {} where there is none, a UserError where it is not as it was written."""
    try:
        return sealed.read(Path(folder) / "run.json")
    except (FileNotFoundError, NotADirectoryError):
        return {}


def read_sessions(folder) -> list[dict]:
    """What run.json says of the sessions of a run so far, the oldest first."""
    newest = read_record(folder)
    return [*newest.pop("earlier_sessions", []), newest] if newest else []


def describe_text(data) -> dict:
    """What run.json says of the text: its name and the fingerprint of its content and splits."""
    return {"name": data.corpus.name, "fingerprint": data.corpus.fingerprint}


def check_text(folder, data):
    """Raises a UserError where a run was trained on other text than `data` holds, under whatever name."""
    noted = read_record(folder)
    if not noted:
        raise UserError(f"{folder}/run.json is missing, so that nothing tells whether {data.corpus.name} is the text "
                        "that the run was trained on; restore it from a copy")
    if noted.get("text") != describe_text(data):
        raise UserError(f"{folder} was trained on other text than {data.corpus.name} holds now (or other splits of "
                        "it); restore the text, or use a new --workdir")


def read_summary(folder) -> dict:
    """summary.json of a run; {} before its first session ended, or where it is not as it was written."""
    try:
        return sealed.read(Path(folder) / "summary.json")
    except (FileNotFoundError, NotADirectoryError, UserError):
        return {}


def initialiser(config, model):
    """key -> parameters of a new model, boxed with the names of their logical axes."""
    return functools.partial(models.find(config.model.name).init, model)
