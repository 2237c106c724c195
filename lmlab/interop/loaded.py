"""What every reader of foreign weights gives."""

from typing import Any, NamedTuple


class Loaded(NamedTuple):
    """A model from elsewhere.

    Attributes:
      kwargs: the keyword arguments of lmlab.models.transformer.Spec, vocab_size included.
      params: nested dict of float32 numpy arrays, as the model takes them.
      tokenizer: text <-> ids; None where the source has none.
      extras: what else the source says. "architecture"; "missing": parts of the model that it has no weights for;
        "generation": {"bos", "eos", "pad", "decoder_start": ids}; "embedding": {"pooling": "mean" or "cls",
        "normalise": bool, "length": the most tokens, where said}, of sentence embeddings.
    """
    kwargs: dict
    params: dict
    tokenizer: Any
    extras: dict
