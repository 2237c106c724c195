"""Questions whose answers stand in a context: {"id", "context", "question", "answers": [{"text", "start"}, ...]}.

SQuAD v1.1 and v2.0 (Rajpurkar et al. 2016, 2018) as .json, or such objects one a line; no answers: the context does not
answer the question.
"""

import hashlib

from lmlab.data import readers
from lmlab.data.formats import rows
from lmlab.utils.errors import UserError

FIELDS = "context,question,answers"


def read(path, field, skip):
    """The questions of a .json or .jsonl file.

    Args:
      field: what the objects of a .jsonl, or of a list in a .json, call FIELDS; SQuAD has names of its own.
    """
    names = rows.names(field, FIELDS, 3)
    if readers.kind(path, (".json",)) == ".json":
        found = _squad(path, names, skip)
    else:
        found = rows.rows(path, rows.JSON, [], skip)
    return rows.made(found, lambda row: _question(row, *names), skip)


def key(example):
    """The context: questions about one never stand in two splits."""
    return example["context"]


def same(example):
    """The context and the question."""
    return rows.joined(example["context"], example["question"])


def texts(example):
    """The context and the question; the answers stand in the context."""
    return [example["context"], example["question"]]


def _squad(path, names, skip):
    """(where, question with its context) of a .json file: of SQuAD, or a list of objects."""
    value = rows.document(path)
    if isinstance(value, list):
        yield from ((f"{path}, [{number}]", row) for number, row in enumerate(value))
        return

    def part(value, name, where):
        try:
            if not isinstance(value, dict) or name not in value:
                raise UserError(f"no list {name!r} there; give SQuAD's data[].paragraphs[].qas[]")
            joint = ", " if where == str(path) else "."
            return [(f"{where}{joint}{name}[{n}]", one) for n, one in enumerate(rows.items(value[name], name))]
        except UserError as error:
            skip(UserError(f"{where}: {error}"))
            return []

    for where, article in part(value, "data", str(path)):
        for where, paragraph in part(article, "paragraphs", where):
            for where, question in part(paragraph, "qas", where):
                if isinstance(question, dict):
                    answers = [] if question.get("is_impossible") is True else question.get("answers")
                    question = {"id": question.get("id"), names[0]: paragraph.get("context"),
                                names[1]: question.get("question"), names[2]: answers}
                yield where, question


def _question(row, context, question, answers):
    """The example of an object."""
    example = {"context": rows.text(row, context), "question": rows.text(row, question)}
    number = str(row["id"]).strip() if isinstance(row.get("id"), (str, int)) else ""
    if not number:
        number = hashlib.sha256(same(example).encode("utf-8", "replace")).hexdigest()[:16]
    found = row.get(answers)
    if isinstance(found, dict):  # {"text": [...], "answer_start": [...]}, as Hugging Face lays SQuAD out
        parts = [rows.items(found.get(name), f"{answers}.{name}") for name in ("text", "answer_start")]
        if len(parts[0]) != len(parts[1]):
            raise UserError(f"{len(parts[0])} texts and {len(parts[1])} starts of answers; give as many")
        found = [{"text": text, "start": start} for text, start in zip(*parts)]
    return {"id": number} | example | {"answers": [
        _answer(answer, f"{answers}[{n}]", example["context"]) for n, answer in enumerate(rows.items(found, answers))]}


def _answer(answer, what, context):
    """{"text", "start"} of an answer, which must stand there."""
    if not isinstance(answer, dict):
        raise UserError(f"{what} is a {type(answer).__name__}; give an object of text and start")
    text = rows.text(answer, "text")
    start = rows.whole(answer.get("start", answer.get("answer_start")), f"{what}.start")
    if start < 0 or not context.startswith(text, start):
        near = max(0, min(start, len(context)))
        places = [place for place in (context.rfind(text, 0, near + len(text)), context.find(text, near)) if place >= 0]
        said = min(places, key=lambda place: abs(place - start), default=None)
        raise UserError(f"{what}, {text[:40]!r}, does not stand at character {start} of the context, " + (
            "and nowhere in it; correct the answer or the context" if said is None else
            f"but at {said}, a shift of {said - start:+d}; correct the start"))
    return {"text": text, "start": start}
