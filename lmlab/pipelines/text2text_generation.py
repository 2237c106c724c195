"""Text to text: [{"generated_text": ...}]."""

from lmlab.decoding.text2text import answers


def make(lm):
    """The call: for a string, or a list of strings, a list of {"generated_text"}. Keyword arguments are those of
    `lmlab.generate`, but that nothing is drawn unless temperature= says so."""
    return call(lm, "generated_text")


def call(lm, name, task=""):
    """The call of a pipeline that gives {name: what the model makes of a text}; task: as `answers` takes it."""
    def run(texts, **settings):
        rows = [texts] if isinstance(texts, str) else list(texts)
        return [{name: text} for text in answers(lm, rows, task=task, **settings)]
    return run
