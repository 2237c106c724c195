"""The choices of questions, the likeliest first: [{"label": choice, "score": probability}, ...]."""

from lmlab.decoding.multiple_choice import probabilities
from lmlab.utils.errors import UserError


def make(lm):
    """The call: {"question": text, "choices": [text, ...]}, where there is one with its "context", or the same as
    keyword arguments; a list of such dicts gives a list of such lists.

    Scores are as those of decoding.multiple_choice.probabilities: by a head, or of a decoder by how likely each choice
    is after the question.
    """
    def call(inputs=None, **question):
        if (inputs is None) != bool(question):
            raise UserError("multiple-choice takes question= and choices=, or a dict of these, or a list of such dicts")
        rows = inputs if isinstance(inputs, (list, tuple)) else [question if inputs is None else inputs]
        asked = [_checked(row, number) for number, row in enumerate(rows, 1)]
        found = []
        for one, p_C in zip(asked, probabilities(lm, asked), strict=True):
            order = sorted(range(len(p_C)), key=lambda c: -p_C[c])
            found.append([{"label": one["choices"][c], "score": float(p_C[c])} for c in order])
        return found if rows is inputs else found[0]
    return call


def _checked(row, number):
    """A question as the model reads it; UserError where it is none."""
    if not isinstance(row, dict) or not {"question", "choices"} <= {*row} <= {"question", "choices", "context"}:
        raise UserError(f'input {number} is no question; give {{"question": "...", "choices": ["...", "..."]}}, and '
                        'where there is one "context"')
    choices = row["choices"]
    if not isinstance(choices, (list, tuple)) or len(choices) < 2:
        raise UserError(f"the choices of input {number} are not two or more; give a list of texts")
    for text in (*choices, *(row[name] for name in ("question", "context") if name in row)):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"input {number} holds {str(text)[:80]!r}, which is no text or empty; give texts")
    return {**row, "choices": list(choices)}
