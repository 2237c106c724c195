"""Questions, tokenizers that read them, and random models with a head for them."""

import functools

import flax.linen as nn
import jax
import numpy as np

from lmlab import objectives, run
from lmlab.adapt import heads
from lmlab.data import examples, tokenizers
from lmlab.data.tokenizers import huggingface, plain, wordpiece

CONTEXTS = {
    "plain": "The tower was built by Ada Lovelace in 1843, and it fell down twice before the war.",
    "accents": "Né à Besançon, Victor Hugo reçut l’œuvre; İstanbul, Straße, e\u0301te\u0301 — ﬁn.",
    "chinese": "北京大学成立于1898年，是中国第一所国立大学，校长是 Cài Yuánpéi 先生。",
    "blanks": " two\t blanks \n\n🙂 and  a face ",
}


@functools.cache
def tokenizer(kind):
    """bytes, characters, an uncased WordPiece of letters and a few words, or a byte-level BPE without merges."""
    text = "".join(CONTEXTS.values()) + "?"
    if kind == "bytes":
        found = plain.Bytes()
    elif kind == "chars":
        found = plain.Chars("".join(sorted(set(text))))
    elif kind == "bbpe":
        model = huggingface.models.BPE(vocab={c: i for i, c in enumerate(
            [huggingface.EOD, *sorted(huggingface.pre_tokenizers.ByteLevel.alphabet())])}, merges=[])
        library = huggingface.tokenizers.Tokenizer(model)
        library.pre_tokenizer = huggingface.pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.add_special_tokens([huggingface.EOD])
        found = huggingface.HuggingFace(library, "bbpe")
    else:
        normal = wordpiece.build({token: i for i, token in enumerate(wordpiece.SPECIAL)}, lowercase=True).normalizer
        letters = sorted(set(normal.normalize_str(text)) - {" "})
        pieces = [*wordpiece.SPECIAL, *letters, *("##" + letter for letter in letters), "the", "tower", "hugo"]
        found = huggingface.HuggingFace(wordpiece.build({piece: i for i, piece in enumerate(pieces)}, lowercase=True),
                                        "wordpiece-uncased")
    return tokenizers.extend(found, ("cls",))


def split(found):
    """Examples as a split of them."""
    return examples.Split(found, {"name": "asked"}, "train")


def question(context, start=None, end=None, text="Who?"):
    """A question whose answer is the characters from start to end; none where these are None."""
    answers = [] if start is None else [{"text": context[start:end], "start": start}]
    return {"id": "1", "context": context, "question": text, "answers": answers}


def model(objective, reads, lively, length=64, **more):
    """An LM, random, with the head of an objective, of a tokenizer; more: of config.model."""
    network = dict(name="transformer", context=length, width=16, layers=2, heads=2, attends="full", token_types=2)
    network |= more
    config = run.complete({"model": network, "objective": {"name": objective}, "train": {"length": length}}, {})
    labels = objectives.find(objective).names(())
    built = run.build_model(config, reads.vocab_size, labels)
    params = lively(nn.meta.unbox(jax.jit(lambda key: heads.init(built, key))(jax.random.key(0))), scale=0.3)
    return run.LM(built, params, reads, config, 0, labels)


def alone(lm, ids, types):
    """The outputs of one example in a row of its own: (C,), or (n, C) of its tokens."""
    row = np.zeros((3, 1, lm.model.spec.context), np.int32)
    row[:, 0, :len(ids)] = ids, types, np.ones(len(ids))
    out = np.float64(_outputs(lm.model, lm.params, *row))[0]
    return out[0] if lm.model.pool else out[:len(ids)]


@functools.partial(jax.jit, static_argnames="model")
def _outputs(model, params, ids, types, segments):
    states = model.apply({"params": params}, ids, segments, types_BT=types, method="hidden")
    return model.apply({"params": params}, states, segments, 1, method="score")
