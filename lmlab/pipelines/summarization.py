"""The summary of a text: [{"summary_text": ...}]."""

from lmlab.pipelines import text2text_generation


def make(lm):
    """The call: as that of text2text-generation, with {"summary_text"}, of an encoder-decoder or a chat's decoder."""
    return text2text_generation.call(lm, "summary_text", "summarization")
