"""A text in another language: [{"translation_text": ...}]."""

from lmlab.pipelines import text2text_generation


def make(lm):
    """The call: as that of text2text-generation, with {"translation_text"}; the languages are those of the model."""
    return text2text_generation.call(lm, "translation_text")
