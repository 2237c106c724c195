"""Conversations: the same ones in every shape they come in."""

import pytest

from lmlab.data.formats import messages


def said(*contents, system=""):
    turns = [{"role": "system", "content": system}] if system else []
    return {"messages": turns + [{"role": role, "content": content}
                                 for role, content in zip(("user", "assistant") * 9, contents)]}


def sharegpt(example):
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[m["role"]], "value": m["content"]} for m in example["messages"]]}


CHATS = [said("hi", "hello", "who are you", "nobody", system="be short"), said("bye", "so long")]


def test_openai_sharegpt_and_a_table_say_the_same(read):
    assert read("messages", "a.jsonl", CHATS) == CHATS == read("messages", "a.json", CHATS)
    assert read("messages", "b.json", [sharegpt(chat) for chat in CHATS]) == CHATS
    bare = sharegpt(said("hi", "hello", "who are you", "nobody")) | {"system": "be short"}
    assert read("messages", "c.jsonl", [bare, sharegpt(CHATS[1])]) == CHATS
    assert read("messages", "d.jsonl", [{"talk": chat["messages"]} for chat in CHATS], "talk") == CHATS
    rows = "".join(f"{number},{m['role']},{m['content']}\n"
                   for number, chat in enumerate(CHATS) for m in chat["messages"])
    assert read("messages", "a.csv", f"conversation,role,content\n{rows}") == CHATS
    tabs = "".join(f"{m['content']}\t{m['role']}\n" for m in CHATS[0]["messages"])
    assert read("messages", "a.tsv", f"content\trole\n{tabs}") == CHATS[:1]  # one conversation


def test_turns_of_a_table_are_conversations_of_their_own_or_one(read):
    turns = [said("a", "b"), said("c", "d"), said("e", "f")]
    assert read("messages", "a.csv", "user,assistant\na,b\nc,d\ne,f\n") == turns
    assert read("messages", "a.csv", "answer,question\nb,a\nd,c\nf,e\n", "question,answer") == turns
    assert read("messages", "a.jsonl", [{"q": "a", "a": "b"}], "q,a") == turns[:1]
    assert read("messages", "b.csv", "conversation,user,assistant\n1,a,b\n1,c,d\n2,e,f\n") == [
        said("a", "b", "c", "d"), said("e", "f")]


def test_alpaca(read):
    rows = [{"instruction": "Add.", "input": "1 + 1", "output": "2"},
            {"instruction": "Hi", "input": "", "output": "Hello"},
            {"instruction": "And you?", "output": "Fine", "history": [["Hi", "Hello"]], "system": "be kind"}]
    assert read("messages", "a.json", rows) == [
        said("Add.\n1 + 1", "2"), said("Hi", "Hello"), said("Hi", "Hello", "And you?", "Fine", system="be kind")]


def test_the_key_is_what_the_user_says():
    one, two = said("hi", "hello", "and", "so"), said("hi", "good day", "and", "no", system="polite")
    assert messages.key(one) == messages.key(two) != messages.key(said("hi", "hello"))
    assert messages.same(one) != messages.same(two) and messages.texts(one) == ["hi", "hello", "and", "so"]


@pytest.mark.parametrize("row, message", [
    ({"messages": [{"role": "tool", "content": "x"}]}, "line 1: messages[0]: unknown role 'tool'; give one of system"),
    ({"messages": [{"role": 3, "content": "x"}]}, "unknown role '3'"),
    ({"messages": [{"content": "x"}]}, "unknown role 'None'"),
    ({"messages": [{"role": "user", "content": None}]}, "no text in field 'content'; it has NoneType there"),
    ({"messages": [{"role": "user", "content": ""}]}, "the content is empty"),
    ({"messages": [{"role": "user", "content": "x"}]}, "no message is an assistant's"),
    ({"messages": []}, "no message is"),
    ({"messages": ["x"]}, "messages[0] is a str"), ({"messages": "x"}, "messages holds a str and no list"),
    ({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]}, "messages[1] is a system's"),
    ({"conversations": [{"from": "function_call", "value": "x"}]}, "conversations[0]: unknown role 'function_call'"),
    ({"instruction": "x", "output": ""}, "the output is empty"), ({"instruction": "x"}, "no text in field 'output'"),
    ({"instruction": "x", "output": "y", "history": [["a"]]}, "history[0] is no pair"),
    ({"instruction": "x", "output": "y", "history": "a"}, "history holds a str"),
    ({"instruction": "x", "output": "y", "input": 3}, "no text in field 'input'"),
    ({"text": "x"}, "no messages in field 'messages'; it has text"),
    ([], "no messages in field 'messages'; it has a list")])
def test_what_is_wrong_is_told(refusal, row, message):
    assert message in refusal("messages", "a.jsonl", [row])


def test_what_is_wrong_with_a_table_is_told(refusal, read):
    assert "a.csv, line 1: no column 'user'; it has q, a" in refusal("messages", "a.csv", "q,a\nx,y\n")
    assert "a.csv, line 1: no column 'content'; it has role" in refusal("messages", "a.csv", "role\nuser\n")
    assert "a.csv, line 3: the row: unknown role 'bot'" in refusal("messages", "a.csv", "role,content\nuser,a\nbot,b\n")
    assert "a.csv, line 3: the assistant is empty" in refusal("messages", "a.csv", "user,assistant\na,b\nc,\n")
    content = "conversation,role,content\n1,user,a\n1,assistant\n1,assistant,b\n2,user,c\n2,assistant,d\n"
    assert "a.csv, line 3: the row ends before column 'content'" in refusal("messages", "a.csv", content)
    told = []
    assert read("messages", "a.csv", content, skip=told.append) == [said("c", "d")]  # and not half of the first
    assert len(told) == 1
