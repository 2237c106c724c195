"""What systems wrote of sources: the column that a task from text to text measures, and trivial writers."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from lmlab.data.cleaning import CJK
from lmlab.utils.files import json_text, write_text

_CLOSE = "[\"'”’」』）)]"
_ENDS = re.compile(rf"(?<=[.!?])\s+|(?<=[.!?]{_CLOSE})\s+|(?<=[。！？])(?!{_CLOSE})|(?<=[。！？]{_CLOSE})|\n+")
_WORDS = re.compile(rf"[{CJK}]|[^\W{CJK}]+|[^\w\s]")
_CLOSING = re.compile(rf" (?=[.,;:!?%)\]])|(?<=[(\[]) |(?<=[{CJK}]) | (?=[{CJK}])")


def asked(examples) -> list:
    """The source of each pair; of a conversation the messages before its last answer."""
    return [one["source"] if "source" in one else one["messages"][:_answer(one)] for one in examples]


def sources(examples) -> list[str]:
    """The source of each pair; of a conversation what the user said last before its last answer."""
    said = [one if isinstance(one, str) else [m["content"] for m in one if m["role"] == "user"]
            for one in asked(examples)]
    return [one if isinstance(one, str) else one[-1] if one else "" for one in said]


def targets(examples) -> list[str]:
    """The target of each pair; of a conversation its last answer."""
    return [one["target"] if "target" in one else one["messages"][_answer(one)]["content"] for one in examples]


def _answer(example) -> int:
    """The place of the last answer of a conversation."""
    return max(i for i, message in enumerate(example["messages"]) if message["role"] == "assistant")


def column(texts: Sequence[str], counts_NX: np.ndarray) -> np.ndarray:
    """N texts, each with the X numbers from whose sums over texts the measures are made: a structured array of "text"
    and "counts". A bootstrap then counts nothing anew."""
    said = np.zeros(len(texts), [("text", object), ("counts", float, counts_NX.shape[1:])])
    said["text"], said["counts"] = texts, counts_NX
    return said


def of_sums(function: Callable) -> Callable:
    """A statistic of a `column` that is a function of its summed counts (X,)."""
    return lambda said, *gold: float(function(said["counts"].sum(axis=0)))


def keep(folder, said, asked, wanted) -> None:
    """Writes said.jsonl into a folder: source, target and what was said of each example."""
    rows = zip(asked, wanted, said["text"].tolist(), strict=True)
    write_text(folder / "said.jsonl", "".join(json_text({"source": source, "target": target, "said": text}, indent=None)
                                              + "\n" for source, target, text in rows))


def by_length(examples) -> dict:
    """The places of the examples of each quarter by the length of their sources."""
    order = np.argsort([len(source) for source in sources(examples)], kind="stable")
    names = ("shortest quarter", "second quarter", "third quarter", "longest quarter")
    return dict(zip(names, np.array_split(order, 4)))


def sentences(text: str) -> list[str]:
    """The sentences of a text: after a full stop, question or exclamation mark and a blank, and at line ends."""
    return [part for part in map(str.strip, _ENDS.split(text)) if part]


def lead(count: int, text: str) -> str:
    """The first sentences of a text: what a summary of news must beat (Nallapati et al. 2017)."""
    return "\n".join(sentences(text)[:count])


def words(text: str) -> list[str]:
    """Words and marks of a text, Chinese and Japanese characters one by one."""
    return _WORDS.findall(text)


def joined(words: Sequence[str]) -> str:
    """`words` as a text, marks beside the words that they belong to."""
    return _CLOSING.sub("", " ".join(words))
