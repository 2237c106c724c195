"""The text of a config as tokens and batches."""

import functools
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmlab import config as configs
from lmlab import objectives
from lmlab.data import corpus, examples, loader, store, tokenizers
from lmlab.data.features import augmentation
from lmlab.run.building import reads
from lmlab.utils.files import sha256


class Data(NamedTuple):
    """A run's text, as documents and as what is trained on."""
    corpus: corpus.Corpus
    tokenizer: Any
    folder: Path | None         # of the token store; None for examples, which are few and held in memory
    labels: tuple | None = None  # names of the labels of examples that have some; None: there is no head
    ready: dict = {}            # splits of examples that are there already, with what the objective has put in them
    synonyms: str = ""          # digest of those that training examples are changed with; "": none, or no training

    def split(self, name, damaged_rows=0):
        """One split's tokens, or its examples; its `meta` counts them. damaged_rows: as `store.open_split` takes it."""
        if name in self.ready:
            return self.ready[name]
        if self.folder is None:
            return examples.open_split(self.corpus, name)
        return store.open_split(self.folder, name, damaged_rows)

    def digest(self) -> str:
        """Equal for equal text, tokenizer, labels and synonyms."""
        return sha256(json.dumps([self.corpus.fingerprint, tokenizers.digest(self.tokenizer), self.labels,
                                  self.synonyms]))


def prepare(config, tokenizer=None, labels=None, progress=False, start=None) -> Data:
    """Reads the text, trains the tokenizer (unless one is given) and stores the tokens, each once and cached; finds the
    labels of examples (unless they are given).

    start: () -> the LM that training begins from, for an objective that asks it about every example (`prepare`); None:
      nothing is going to be trained.
    """
    objective = objectives.find(config.objective.name)
    synonyms = augmentation.digest(config.objective.get("synonyms", "")) if start is not None else ""
    text = corpus.build(**config.data, reads=reads(config))
    if tokenizer is None:
        tokenizer = tokenizers.build(**config.tokenizer, corpus=text, specials=objective.SPECIALS)
    if getattr(objective, "CHATS", False):
        tokenizer = tokenizers.chatting(tokenizer)
    if reads(config) is None:
        return Data(text, tokenizer, store.prepare(text, tokenizer, progress=progress))
    if labels is None and hasattr(objective, "names"):
        found = (example for split in text.splits for example in text.examples(split))
        labels = objective.names(found, **configs.taken(objective.names, config.objective))
    ready = {}
    if start is not None and hasattr(objective, "prepare"):
        begin = functools.cache(start)
        ready = {name: objective.prepare(begin, examples.open_split(text, name), tokenizer, length=_length(config),
                                         **configs.taken(objective.prepare, config.objective))
                 for name in ("train", "validation")}
    return Data(text, tokenizer, None, labels, ready, synonyms)


def train_batches(config, data, process=0, processes=1):
    """Endless training batches: batch i is a function of (config.seed, i)."""
    rows = _rows(config, data.split("train", config.train.damaged_rows), data.tokenizer, data.labels)
    if rows.count < config.train.batch:
        print(f"{data.corpus.name} makes {rows.count} rows, fewer than config.train.batch={config.train.batch}: a "
              "batch has some of them more than once", file=sys.stderr)
    return loader.train_batches(rows, batch=config.train.batch, seed=config.seed, ramp=config.train.ramp,
                                ramp_from=config.train.ramp_from, process=process, processes=processes)


def padding(config, data):
    """A batch of one row of padding: its tokens are shaped as every batch's."""
    split = data.split("train")
    split = split._replace(examples=split.examples[:1]) if data.folder is None else split  # enough to tell
    rows = _rows(config, split, data.tokenizer, data.labels)
    return {**rows.make(np.array([-1]), np.array([0]), config.seed), "row": np.zeros(1, np.int32)}


def eval_batches(config, split, tokenizer, rows, process=0, processes=1, labels=None):
    """Every row of a split once, `rows` rows a batch: the same at every call."""
    return loader.eval_batches(_rows(config, split, tokenizer, labels), batch=rows, process=process,
                               processes=processes)


def _rows(config, split, tokenizer, labels):
    """The split as the objective wants it."""
    features = objectives.find(config.objective.name).features
    more = {} if labels is None else {"labels": labels}
    return features(split, tokenizer, length=_length(config), windows=config.train.windows,
                    **configs.taken(features, config.objective), **more)


def _length(config):
    """The tokens of a row."""
    return config.train.length or config.model.context
