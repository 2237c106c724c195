"""Texts with relations and events that are made here, by rule, of a newspaper whose words have tags. The rules see the
tags, a model the characters alone; and what a reader would say of a sentence may differ from what a rule says."""

import itertools
import re

from lmlab.data.catalog import tagged

# A sentence is a string with a letter a word: n of what an office is made of, a comma of a pause, and those of _LABELS.
_LABELS = {"P": "PER", "L": "LOC", "O": "ORG", "T": "TIME", "A": "Arrive", "M": "Meet", "V": "Visit"}
_TAGS = {"nr": "P", "ns": "L", "nt": "O", "t": "T", **dict.fromkeys("n vn b j m f Ng an nz".split(), "n")}
_VERBS = {word: kind for kind, words in {"A": "抵达 到达 来到 赶到", "M": "会见 会晤 会谈 接见", "V": "访问 出访 考察 视察"}.items()
          for word in words.split()}
_NEAR, _LONGEST = 12, 120  # words, characters: the most
_CLAUSE = re.compile("[^,]{0,%d}" % _NEAR)


def _kinds(words):
    """The letters of words."""
    return "".join(_VERBS[word] if word in _VERBS and tag in ("v", "vn") else "," if tag == "w" and word != "、"
                   else _TAGS.get(tag, ".") for word, tag in words)


def _relations(_, content):
    """Sentences of two to six people, places and organisations. A person holds an office of a place or an organisation
    where only one to four nouns stand between the two, in this order; one place or organisation that directly follows
    another is part of it, but no place is part of an organisation."""
    for words in tagged.sentences(content):
        kinds = _kinds(words)
        found = [(one.end() - 1, one.start(), "office") for one in re.finditer("[LO]n{1,4}P", kinds)]
        found += [(one.start() + 1, one.start(), "part of") for one in re.finditer("(?=L[LO]|OO)", kinds)]
        yield from _example(words, kinds, "PLO", found, range(2, 7))


def _events(_, content):
    """Sentences with a meeting, a visit or an arrival, and at most ten spans in all. The agent is the person next
    before it, the time that next before it, each at most 12 words away; up to the next pause, again of at most 12
    words, each person is a patient of a meeting, and the first place the place of another event."""
    for words in tagged.sentences(content):
        kinds, found = _kinds(words), []
        for place in (n for n, kind in enumerate(kinds) if kind in "AMV"):
            found += [(place, kinds.rfind(kind, max(place - _NEAR, 0), place), role)
                      for kind, role in (("P", "agent"), ("T", "time"))]
            after = range(place + 1, _CLAUSE.match(kinds, place + 1).end())
            if kinds[place] == "M":
                found += [(place, other, "patient") for other in after if kinds[other] == "P"]
            else:
                found.append((place, kinds.find("L", after.start, after.stop), "place"))
        if found:
            yield from _example(words, kinds, _LABELS, found, range(1, 11))


def _event_spans(name, content):
    """The spans of `_events`, as tags of characters."""
    for example in _events(name, content):
        tags = ["O"] * len(example["text"])
        for span in example["spans"]:
            for place in range(span["start"], span["end"]):
                tags[place] = f"{'I' if place > span['start'] else 'B'}-{span['label']}"
        yield tagged.characters(example["text"], tags)


def _example(words, kinds, letters, found, sizes):
    """The example of a sentence, if it is short and has as many spans as `sizes` allows. letters: those of the words
    that are spans. found: (head, tail, label) in numbers of words, tail -1 where there is none."""
    texts, numbers = [word for word, _ in words], [n for n, kind in enumerate(kinds) if kind in letters]
    starts = list(itertools.accumulate(map(len, texts), initial=0))
    if len(numbers) in sizes and starts[-1] <= _LONGEST:
        yield {"text": "".join(texts),
               "spans": [{"start": starts[n], "end": starts[n + 1], "label": _LABELS[kinds[n]]} for n in numbers],
               "relations": [{"head": numbers.index(head), "tail": numbers.index(tail), "label": label}
                             for head, tail, label in found if tail >= 0]}


_DAILY = tagged.ENTRIES["peoples-daily"]
ENTRIES = {
    "peoples-daily-relations": _DAILY._replace(
        name="People's Daily, January 1998, with relations made by rule from its tags", kind="relations",
        parse=_relations),
    "peoples-daily-events": _DAILY._replace(
        name="People's Daily, January 1998, with events made by rule from its tags", kind="relations", parse=_events),
    # the words that tell of those events, and the people, places, organisations and times that may be arguments of them
    "peoples-daily-event-spans": _DAILY._replace(
        name="People's Daily, January 1998, with the spans of events made by rule from its tags", parse=_event_spans),
}
