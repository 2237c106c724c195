"""A tiny random language model for every task and every kind of network, and the calls that transformers v4 took."""

import functools
import json
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

from lmlab import objectives, run
from lmlab.adapt import heads
from lmlab.data import tokenizers
from lmlab.data.tokenizers import wordpiece
from lmlab.data.tokenizers.huggingface import HuggingFace
from lmlab.models import transformer

GOLDEN = json.loads((Path(__file__).parent / "golden" / "pipelines.json").read_text("utf-8"))
WORDS = ("the cat sat on mat a dog ran in park paris is france who here it about animals towns sport this example user "
         "assistant system < > ? . : ,").split()
LABELS = ("animals", "sport", "towns")
# The kinds: what differs from a decoder in the network; the objective; the labels of a head, None without one.
ENCODER, PREFIX, PAIR = dict(attends="full"), dict(attends="prefix"), dict(encoder_layers=2)
KINDS = {
    "decoder": ({}, "causal", None),
    "prefix": (PREFIX, "prefix", None),
    "encoder-decoder": (PAIR, "seq2seq", None),
    "masked": (ENCODER, "masked", None),
    "replaced": ({**ENCODER, "generator": 0.5}, "replaced", None),
    "single": (ENCODER, "classification", LABELS),
    "several": (ENCODER, "classification", LABELS),
    "number": (ENCODER, "classification", ()),
    "entailment": (ENCODER, "classification", ("contradiction", "entailment", "neutral")),
    "decoder with a head": ({}, "classification", LABELS),
    "tagging": (ENCODER, "tagging", ("B-PER", "I-PER", "O")),
    "question_answering": (ENCODER, "question_answering", ("start", "end")),
    "multiple_choice": (ENCODER, "multiple_choice", ("right",)),
    "relations": (ENCODER, "relations", ("no_relation", "in", "of")),
}


@functools.cache
def tokenizer():
    """Whole words, letters beside them, with the marks of a chat."""
    letters = sorted(set("".join(WORDS)))
    pieces = dict.fromkeys([*wordpiece.SPECIAL, *letters, *("##" + letter for letter in letters), *WORDS])
    library = wordpiece.build({piece: i for i, piece in enumerate(pieces)}, lowercase=True)
    return tokenizers.chatting(HuggingFace(library, "wordpiece-uncased"))


@functools.cache
def model(kind):
    """A random model of one of KINDS, lively."""
    network, objective, labels = KINDS[kind]
    settings = {"kind": kind} if kind in ("several", "number") else {}
    shape = {"name": "transformer", "context": 64, "width": 16, "layers": 2, "heads": 2}
    config = run.complete({"model": {**shape, **network},
                           "objective": {"name": objective, **settings}, "train": {"length": 64}}, {})
    reads = tokenizers.extend(tokenizer(), objectives.find(objective).SPECIALS)
    built = run.build_model(config, reads.vocab_size, labels)
    init = transformer.init if labels is None else heads.init
    params = nn.meta.unbox(jax.jit(lambda key: init(built, key))(jax.random.key(0)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.3 * rng.standard_normal(x.shape).astype(x.dtype), params)
    return run.LM(built, params, reads, config, 0, labels)
