"""Conversations: the same ones in every shape they come in."""

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


def test_a_conversation_with_a_damaged_row_is_left_out_whole(read):
    content = "conversation,role,content\n1,user,a\n1,assistant\n1,assistant,b\n2,user,c\n2,assistant,d\n"
    told = []
    assert read("messages", "a.csv", content, skip=told.append) == [said("c", "d")]  # and not half of the first
    assert [str(error).split(": ")[0][-6:] for error in told] == ["line 3"]
