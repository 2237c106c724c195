"""Conversations: {"messages": [{"role": "system", "user" or "assistant", "content"}, ...]}.

JSON objects as OpenAI has them ({"messages"}), ShareGPT ({"conversations": [{"from", "value"}]}) or Alpaca
({"instruction", "input", "output"}); or a table, with columns role and content (a message a row; another
conversation begins where the column conversation changes), or user and assistant (a turn a row, each a conversation
where there is no such column).
"""

import itertools

from lmlab.data import readers
from lmlab.data.formats import rows
from lmlab.utils.errors import UserError

FIELDS = "messages"
_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def read(path, field, skip):
    """The conversations of a .jsonl, .json, .csv or .tsv file.

    Args:
      field: the name of the list of messages; or "USER,ASSISTANT", the two fields or columns of a turn.
    """
    names = rows.names(field, FIELDS, 1, 2)
    if not rows.is_table(path):
        return rows.made(rows.rows(path, rows.JSON, [], skip), lambda row: example(row, names), skip)
    there = readers.columns(path)
    if len(names) == 1:
        names = ["role", "content"] if "role" in there else ["user", "assistant"]
    if "conversation" in there or names[0] == "role":
        return rows.made(_grouped(path, [*names, *({"conversation"} & set(there))], skip), conversation, skip)
    return rows.made(rows.rows(path, rows.TABLES, names, skip), lambda row: conversation(_row(row, names)), skip)


def key(example):
    """What the user says: conversations that ask the same never stand in two splits."""
    return asked(example["messages"])


def same(example):
    """Every message with its role."""
    return rows.joined(*(part for message in example["messages"] for part in (message["role"], message["content"])))


def texts(example):
    """What the messages say."""
    return [message["content"] for message in example["messages"]]


def asked(messages):
    """What the user says in messages, one after the other."""
    return rows.joined(*(message["content"] for message in messages if message["role"] == "user"))


def conversation(messages):
    """The example of messages, of which one must be an assistant's."""
    if not any(message["role"] == "assistant" for message in messages):
        raise UserError("no message is an assistant's, so there is nothing to learn; add one, or remove the "
                        "conversation")
    return {"messages": messages}


def turns(value, what):
    """The messages of a list of {"role", "content"} or {"from", "value"}; UserError for what is none."""
    found = [message(one, f"{what}[{number}]") for number, one in enumerate(rows.items(value, what))]
    late = next((number for number, one in enumerate(found) if number and one["role"] == "system"), None)
    if late is not None:
        raise UserError(f"{what}[{late}] is a system's; only the first message may be")
    return found


def message(value, what):
    """The message of one {"role", "content"} or {"from", "value"}."""
    if not isinstance(value, dict):
        raise UserError(f"{what} is a {type(value).__name__}; give an object of role and content")
    names = ("from", "value") if "from" in value else ("role", "content")
    role = value.get(names[0])
    if not isinstance(role, str) or role not in _ROLES:
        raise UserError(f"{what}: unknown role {str(role)[:40]!r}; give one of {', '.join(_ROLES)}")
    return {"role": _ROLES[role], "content": rows.text(value, names[1])}


def alpaca(row):
    """The messages before the output of an Alpaca object, whose system and history (pairs of texts) may be missing."""
    found = [{"role": "system", "content": row["system"]}] if _there(row, "system") else []
    for number, turn in enumerate(rows.items(row.get("history") or [], "history")):
        if not (isinstance(turn, list) and len(turn) == 2 and all(isinstance(t, str) and t.strip() for t in turn)):
            raise UserError(f"history[{number}] is no pair of texts; give [user, assistant]")
        found += turn_of(*turn)
    asked = rows.text(row, "instruction") + (f"\n{row['input']}" if _there(row, "input") else "")
    return [*found, {"role": "user", "content": asked}]


def turn_of(user, assistant):
    """The two messages of a turn."""
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _there(row, name):
    """Whether a field that may be missing or empty holds text."""
    return row.get(name) not in (None, "") and bool(rows.text(row, name))


def example(row, names=(FIELDS,)):
    """The example of a JSON object, whose messages or turn have these names. Raises UserError."""
    if len(names) == 2:
        return conversation(turn_of(*(rows.text(row, name) for name in names)))
    if isinstance(row, dict):
        for name in (*names, "messages", "conversations"):
            if name in row:
                system = [{"role": "system", "content": row["system"]}] if _there(row, "system") else []
                return conversation(system + turns(row[name], name))
        if "instruction" in row:
            return conversation([*alpaca(row), {"role": "assistant", "content": rows.text(row, "output")}])
    raise UserError(readers.missing(row, names[0]).replace("no text", "no messages"))


def _grouped(path, columns, skip):
    """(where, messages) of the conversations in a table; one with a damaged row is skipped whole."""
    faults, messages, begun, before = [], [], "", None
    for where, row in itertools.chain(rows.rows(path, rows.TABLES, columns, faults.append), [("", {})]):
        number = row.get("conversation")
        if not where or begun and number != before:
            if faults:
                skip(faults[0])
            elif messages:
                yield begun, messages
            faults.clear()
            messages, begun = [], ""
        if where:
            begun, before = begun or where, number
            try:
                messages = messages + _row(row, columns[:2])
            except UserError as error:
                faults.append(UserError(f"{where}: {error}"))


def _row(row, names):
    """The messages of a row: a role and a content, or the two of a turn."""
    if names[0] == "role":
        return [message(row, "the row")]
    return turn_of(*(rows.text(row, name) for name in names))
