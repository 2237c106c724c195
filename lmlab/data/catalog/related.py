"""Texts with relations and events that are made here, by rule, of a newspaper whose words have tags. The rules see the
tags, a model the characters alone; and what a reader would say of a sentence may differ from what a rule says."""

from typing import NamedTuple

from lmlab.data.catalog import tagged

_KINDS = {"nr": "PER", "ns": "LOC", "nt": "ORG", "t": "TIME"}
_NOUNS = frozenset(("n", "vn", "b", "j", "m", "f", "Ng", "an", "nz"))  # what a person's office is made of
_MEETINGS = frozenset("会见 会晤 会谈 接见".split())
_EVENTS = {**dict.fromkeys(_MEETINGS, "Meet"), **dict.fromkeys("访问 出访 考察 视察".split(), "Visit"),
           **dict.fromkeys("抵达 到达 来到 赶到".split(), "Arrive")}
_ENDS, _CLOSING = frozenset("。！？；"), frozenset("”’）》」』")
_OFFICE, _NEAR, _SPANS, _LONGEST = 4, 12, 6, 120  # words, words, spans, characters: the most


class _Word(NamedTuple):
    """A word, where it begins in its sentence, and its tag."""
    text: str
    start: int
    tag: str

    def span(self, label):
        """It as a span."""
        return {"start": self.start, "end": self.start + len(self.text), "label": label}


def _sentences(content):
    """The words of each sentence. Two words nr that follow each other are a family and a given name, so one; times that
    follow each other are one."""
    for line in content.split("\n"):
        words, ended, named = [], False, False
        for part in line.split():
            text, tag = part.rsplit("/", 1)
            if ended and text not in _CLOSING:
                yield words
                words, named = [], False
            last = words[-1] if words else _Word("", 0, "")
            if tag == last.tag == "t" or tag == last.tag == "nr" and not named:
                words[-1], named = last._replace(text=last.text + text), tag == "nr"
            else:
                words.append(_Word(text, last.start + len(last.text), tag))
                named = False
            ended = text in _ENDS or ended and text in _CLOSING
        if words:
            yield words


def _relations(_, content):
    """Sentences of two to six people, places and organisations. One of office: a place or an organisation, one to four
    nouns, a person; one is part of the other: two of them side by side; one meets the other: the person next before the
    verb and each after it, up to where the sentence pauses."""
    for words in _sentences(content):
        found = []
        for place, word in enumerate(words):
            kind, after = _KINDS.get(word.tag), words[place + 1:]
            if kind in ("LOC", "ORG"):
                nouns = next((n for n, one in enumerate(after) if one.tag not in _NOUNS), len(after))
                if after and after[0].tag in ("ns", "nt") and (kind, after[0].tag) != ("ORG", "ns"):
                    found.append((place + 1, place, "part of"))
                if 1 <= nouns <= _OFFICE and after[nouns:] and after[nouns].tag == "nr":
                    found.append((place + 1 + nouns, place, "office"))
            if word.text in _MEETINGS:
                who = _before(words, place, "nr")
                found += [(who, place + 1 + n, "meets") for n in _clause(after) if after[n].tag == "nr" and who is not None]
        spans = [n for n, word in enumerate(words) if word.tag in ("nr", "ns", "nt")]
        yield from _example(words, {n: _KINDS[words[n].tag] for n in spans}, found)


def _events(_, content):
    """Sentences of one to six words that are a meeting, a visit, an arrival, a person, a place, an organisation or a time,
    at least one of the first three. Their arguments: agent, the person next before; patient, of a meeting each person after
    it; place, of others the place next after it; time, the time next before: none beyond a full stop, and what comes after
    not beyond a comma."""
    for words in _sentences(content):
        found, spans = [], {n: _KINDS[word.tag] for n, word in enumerate(words) if word.tag in _KINDS}
        for place, word in enumerate(words):
            if word.text not in _EVENTS or word.tag not in ("v", "vn"):
                continue
            spans[place], after = _EVENTS[word.text], words[place + 1:]
            found += [(place, other, role) for role, other in (("agent", _before(words, place, "nr")),
                                                               ("time", _before(words, place, "t"))) if other is not None]
            role, tag = ("patient", "nr") if word.text in _MEETINGS else ("place", "ns")
            others = [place + 1 + n for n in _clause(after) if after[n].tag == tag]
            found += [(place, other, role) for other in (others if role == "patient" else others[:1])]
        if set(spans.values()) & set(_EVENTS.values()):
            yield from _example(words, spans, found, least=1)


def _tags(name, content):
    """The spans of `_events`, as tags of characters."""
    for example in _events(name, content):
        tags = ["O"] * len(example["text"])
        for span in example["spans"]:
            for place in range(span["start"], span["end"]):
                tags[place] = f"{'I' if place > span['start'] else 'B'}-{span['label']}"
        yield {"text": example["text"], "words": [[place, place + 1] for place in range(len(tags))], "tags": tags}


def _before(words, place, tag):
    """The place of the word of that tag next before one, not too far; None where there is none."""
    return next((n for n in range(place - 1, max(place - _NEAR, 0) - 1, -1) if words[n].tag == tag), None)


def _clause(words):
    """The places of the words up to the first pause, not too many; what is enumerated goes on."""
    stop = next((n for n, word in enumerate(words) if word.tag == "w" and word.text != "、"), len(words))
    return range(min(stop, _NEAR))


def _example(words, kinds, found, least=2):
    """The example of a sentence, if it has neither too many spans nor too few. kinds: {number of a word: its label}; found:
    (head, tail, label) in numbers of words."""
    order, text = {n: place for place, n in enumerate(sorted(kinds))}, "".join(word.text for word in words)
    if least <= len(order) <= _SPANS and len(text) <= _LONGEST:
        yield {"text": text, "spans": [words[n].span(kinds[n]) for n in order],
               "relations": [{"head": order[head], "tail": order[tail], "label": label}
                             for head, tail, label in dict.fromkeys(found)]}


_DAILY = tagged.ENTRIES["peoples-daily"]
ENTRIES = {
    "peoples-daily-relations": _DAILY._replace(
        name="People's Daily, January 1998, with relations made by rule from its tags", kind="relations", parse=_relations),
    "peoples-daily-events": _DAILY._replace(
        name="People's Daily, January 1998, with events made by rule from its tags", kind="relations", parse=_events),
    # the words that tell of those events, and the people, places, organisations and times that may be arguments of them
    "peoples-daily-events-spans": _DAILY._replace(
        name="People's Daily, January 1998, with the spans of events made by rule from its tags", parse=_tags),
}
