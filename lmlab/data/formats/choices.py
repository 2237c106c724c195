"""Questions with choices: {"question", "context" (where there is one), "choices", "answer": index from 0}."""

from lmlab.data.formats import rows
from lmlab.utils.errors import UserError

FIELDS = "question,choices,answer"


def read(path, field, skip):
    """The questions of a .jsonl or .json file. The answer is an index from 0, the text of a choice, or a letter, of
    which A is the first choice. A field "context" may be there too."""
    names = rows.names(field, FIELDS, 3)
    return rows.made(rows.rows(path, rows.JSON, [], skip), lambda row: _question(row, *names), skip)


def key(example):
    """The context, or the question where there is none."""
    return example.get("context", example["question"])


def same(example):
    """All but the answer."""
    return rows.joined(example.get("context", ""), example["question"], *example["choices"])


def texts(example):
    """The context, the question and the choices."""
    return [*([example["context"]] if "context" in example else []), example["question"], *example["choices"]]


def answer_of(answer, choices):
    """The index of an answer that is an index, the text of a choice or a letter. Raises UserError."""
    if isinstance(answer, str):
        answer = answer.strip()
        if choices.count(answer) == 1:
            return choices.index(answer)
        index = ord(answer.upper()) - ord("A") if len(answer) == 1 and answer.isascii() else -1
    else:
        index = rows.whole(answer, "the answer")
    if not 0 <= index < len(choices):
        raise UserError(f"the answer {str(answer)[:40]!r} is none of the {len(choices)} choices; give an index from 0, "
                        "a letter from A, or the text of one choice")
    return index


def _question(row, question, choices, answer):
    """The example of an object."""
    example = {"question": rows.text(row, question)}
    if row.get("context") is not None and row["context"] != "":
        example["context"] = rows.text(row, "context")
    found = rows.items(row.get(choices), choices)
    if len(found) < 2 or not all(isinstance(choice, str) and choice.strip() for choice in found):
        raise UserError(f"{choices} are not two or more texts; give such, none of them empty")
    found = [choice.strip() for choice in found]
    return example | {"choices": found, "answer": answer_of(row.get(answer), found)}
