"""How like a sentence others are in meaning: one cosine each, by their embeddings."""

from lmlab.decoding.embedding import cosines, embed
from lmlab.utils.errors import UserError


def make(lm):
    """The call: {"source_sentence": text, "sentences": [text, ...]} -> a list of cosines, from -1 to 1."""
    def call(inputs):
        wanted = {"source_sentence", "sentences"}
        if not isinstance(inputs, dict) or set(inputs) != wanted or isinstance(inputs["sentences"], str):
            raise UserError('sentence-similarity takes {"source_sentence": "...", "sentences": ["...", ...]}')
        x_BD = embed(lm, [inputs["source_sentence"], *inputs["sentences"]])
        return cosines(x_BD[:1], x_BD[1:])[0].tolist()
    return call
