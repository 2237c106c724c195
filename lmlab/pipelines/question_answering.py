"""Answers that stand in a context: {"score", "start", "end", "answer"}."""

from lmlab.decoding.question_answering import answers
from lmlab.utils.errors import UserError


def make(lm):
    """The call: question= and context= (strings; lists of as many; or several questions about one context), or dicts of
    the two, one or a list.

    One question gives a dict, or with top_k above 1 a list of at most so many; several give a list of such. start and
    end are characters of the context. handle_impossible_answer=True: "" is one of the answers, where there may be none.
    doc_stride: tokens that the windows of a long context share; None: as in training. max_answer_len: in tokens.
    """
    def call(inputs=None, *, question=None, context=None, top_k=1, doc_stride=None, max_answer_len=15,
             handle_impossible_answer=False):
        asked = _asked(inputs, question, context)
        found = answers(lm, asked, top_k=top_k, max_answer_len=max_answer_len, stride=doc_stride,
                        handle_impossible_answer=handle_impossible_answer)
        shaped = [[{**{name: one[name] for name in ("score", "start", "end")}, "answer": one["text"]} for one in best]
                  for best in found]
        out = [best[0] if len(best) == 1 else best for best in shaped]
        return out[0] if len(out) == 1 else out
    return call


def _asked(inputs, question, context) -> list[tuple[str, str]]:
    """The (question, context) of a call; UserError where it is none."""
    if inputs is None:
        questions = [question] if isinstance(question, str) else question
        contexts = [context] * len(questions or ()) if isinstance(context, str) else context
        if not isinstance(questions, (list, tuple)) or not isinstance(contexts, (list, tuple)) \
                or len(questions) != len(contexts):
            raise UserError("question-answering takes question= and context=, strings or lists of as many")
        pairs = list(zip(questions, contexts))
    else:
        rows = [inputs] if isinstance(inputs, dict) else inputs
        if not isinstance(rows, (list, tuple)) or not all(isinstance(row, dict) for row in rows):
            raise UserError('question-answering takes {"question": "...", "context": "..."}, or a list of such')
        pairs = [(row.get("question"), row.get("context")) for row in rows]
    for number, pair in enumerate(pairs, 1):
        for name, text in zip(("question", "context"), pair):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"the {name} of input {number} is {'empty' if isinstance(text, str) else 'no text'}; "
                                "give one")
    return pairs
