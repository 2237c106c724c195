"""What people prefer: {"prompt": messages, "chosen", "rejected"}, or one answer and whether it is good: {"prompt",
"completion", "good"} (KTO, Ethayarajh et al. 2024).

JSON objects. The prompt is text or messages, in "prompt", "messages" or "conversations", or Alpaca's "instruction" and
"input"; answers are texts or messages. Of {"messages", "label"} the last message is the answer; the label may also be
called "kto_tag" or "good".
"""

from lmlab.data import readers
from lmlab.data.formats import messages, rows
from lmlab.utils.errors import UserError

FIELDS = "prompt,chosen,rejected"
_VERDICTS = ("label", "kto_tag", "good")


def read(path, field, skip):
    """The preferences of a .jsonl or .json file.

    Args:
      field: the names of prompt, chosen and rejected.
    """
    names = rows.names(field, FIELDS, 3)
    return rows.made(rows.rows(path, rows.JSON, [], skip), lambda row: example(row, *names), skip)


def key(example):
    """What the user says in the prompt."""
    return messages.asked(example["prompt"])


def same(example):
    """The prompt and the answers."""
    answers = [example[name] for name in ("chosen", "rejected", "completion") if name in example]
    return rows.joined(messages.same({"messages": example["prompt"]}), *answers)


def texts(example):
    """What the prompt says, and the answers."""
    return [*messages.texts({"messages": example["prompt"]}),
            *(example[name] for name in ("chosen", "rejected", "completion") if name in example)]


def example(row, prompt="prompt", chosen="chosen", rejected="rejected"):
    """The example of a JSON object, whose prompt and answers have these names. Raises UserError."""
    if not isinstance(row, dict):
        raise UserError(readers.missing(row, chosen))
    asked = _prompt(row, prompt)
    if chosen in row or rejected in row:
        answers = {"chosen": _answer(row, chosen), "rejected": _answer(row, rejected)}
        if answers["chosen"] == answers["rejected"]:
            raise UserError("the chosen and the rejected answer are the same; correct one or remove the example")
    else:
        verdict = next((row[name] for name in _VERDICTS if name in row), None)
        if not isinstance(verdict, bool):
            raise UserError(f"neither {chosen!r} and {rejected!r} nor {', '.join(_VERDICTS)} with true or false there; "
                            f"it has {readers.some(row)}")
        answer = next((name for name in ("completion", "output") if name in row), None)
        if answer is None and asked and asked[-1]["role"] == "assistant":
            *asked, last = asked
            answers = {"completion": last["content"], "good": verdict}
        else:
            answers = {"completion": _answer(row, answer or "completion"), "good": verdict}
    if not asked or asked[-1]["role"] != "user":
        raise UserError("the prompt does not end with what a user says; give one that does")
    return {"prompt": asked} | answers


def _prompt(row, prompt):
    """The messages before the answer."""
    name = next((name for name in (prompt, "messages", "conversations") if name in row), None)
    if name is None:
        return messages.alpaca(row)
    if isinstance(row[name], str):
        return [{"role": "user", "content": rows.text(row, name)}]
    return messages.turns(row[name], name)


def _answer(row, name):
    """The text of an answer: text, an assistant's message, or a list of one such."""
    value = row.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return rows.text(row, name)
    found = messages.message(value, name)
    if found["role"] != "assistant":
        raise UserError(f"{name} is a {found['role']}'s message; give an assistant's")
    return found["content"]
