"""Texts whose words have tags: {"text", "words": [[start, end], ...], "tags"}; tags of entities are IOB2.

CoNLL columns (a line a word, a blank line after each sentence), or JSON objects: {"tokens", "tags"}, {"text", "spans"}
with spans of {"start", "end", "label"}, or {"text", "words", "tags"}.
"""

import functools
import itertools
import re

from lmlab.data import cleaning, readers
from lmlab.data.formats import rows
from lmlab.utils.errors import UserError

FIELDS = "0,-1"  # the columns of the word and the tag, from 0; -1 is the last one
_WORDS = re.compile(rf"[{cleaning.CJK}]|[^\W{cleaning.CJK}]+|[^\w\s]")
_UNSPACED = re.compile(rf"[{cleaning.CJK}\u3000-\u303f\uff00-\uffef\u2014\u2018-\u201d\u2026]")  # and their marks
_CHUNK = re.compile(r"O|[BIESLU]-.+", re.DOTALL)
_AS_IOB = {"S": "B", "U": "B", "E": "I", "L": "I"}  # of IOBES and BILOU


def read(path, field, skip):
    """The sentences of a file of columns or of a .jsonl or .json file.

    Args:
      field: "WORD,TAG": two columns by number, or of JSON objects the names of the tokens and their tags.
    """
    word, tag = rows.names(field, FIELDS, 2)
    kind = readers.kind(path, (".json",))
    if kind in rows.JSON:
        names = ("tokens", "tags") if field == FIELDS else (word, tag)
        return rows.made(rows.rows(path, rows.JSON, [], skip), lambda row: _object(row, *names), skip)
    if kind == ".csv":
        raise UserError(f"{path}: columns of words and tags are no csv; give them with blanks or tabs between, "
                        "or .jsonl")
    try:
        places = int(word), int(tag)
    except ValueError:
        raise UserError(f"config.data.field={field}: columns of {path} are named by their number, as in 0,-1") from None
    return rows.made(_sentences(path, places, skip), lambda words: tagged(*zip(*words)), skip)


def tagged(words, tags):
    """The example of words and their tags. The text has a space between two words, but for two of Chinese or Japanese.

    Args:
      words: texts without blanks around them. tags: as many; of entities in IOB1, IOB2, IOBES or BILOU.
    """
    text, places = "", []
    for word in words:
        if text and not (_is_unspaced(text[-1]) and _is_unspaced(word[0])):
            text += " "
        places.append([len(text), len(text) + len(word)])
        text += word
    return {"text": text, "words": places, "tags": iob2(tags)}


@functools.lru_cache(1 << 14)
def _is_unspaced(character):
    """Whether there is no space between words that end and begin with such characters."""
    return bool(_UNSPACED.match(character))


def iob2(tags):
    """tags with every entity as B-X I-X I-X; tags that are not of entities stay as they are."""
    if not all(_CHUNK.fullmatch(tag) for tag in set(tags)):
        return list(tags)
    found, before = [], "O"
    for tag in tags:
        if tag != "O":
            tag = _AS_IOB.get(tag[0], tag[0]) + tag[1:]
            if tag[0] == "I" and before[2:] != tag[2:]:
                tag = "B" + tag[1:]
        found.append(tag)
        before = tag
    return found


def words_of(text, start=0, end=None):
    """[start, end] of the words between two places of a text: each Chinese or Japanese character, each mark of
    punctuation, and what letters and digits stand between them and blanks."""
    return [[match.start(), match.end()] for match in _WORDS.finditer(text, start, len(text) if end is None else end)]


def key(example):
    """The text."""
    return example["text"]


same = key


def texts(example):
    """The text."""
    return [example["text"]]


def _sentences(path, places, skip):
    """(where, [(word, tag), ...]) of the sentences of a file of columns; one with a damaged line is skipped whole."""
    faults, words, begun = [], [], ""
    for where, line in itertools.chain(readers.lines(path, faults.append), [("", "")]):
        cells = [cell.strip() for cell in line.split("\t" if "\t" in line else None)]
        if any(cells) and cells[0] != "-DOCSTART-":
            begun = begun or where
            try:
                words.append(_word(cells, places))
            except UserError as error:
                faults.append(UserError(f"{where}: {error}"))
            continue
        if faults:
            skip(faults[0])
        elif words:
            yield begun, words
        faults.clear()
        words, begun = [], ""


def _word(cells, places):
    """The word and the tag of a line."""
    if len(cells) < 2 or not all(-len(cells) <= place < len(cells) for place in places):
        raise UserError(f"{len(cells)} columns, and {','.join(map(str, places))} are those of the word and the tag; "
                        "name others with config.data.field=")
    found = tuple(cells[place] for place in places)
    if not all(found):
        raise UserError("the word or its tag is empty; fill it, or end the sentence with an empty line")
    return found


def _object(row, tokens, tags):
    """The example of a JSON object."""
    if isinstance(row, dict) and isinstance(row.get("text"), str) and tokens not in row:
        text = rows.text(row, "text")
        if "spans" in row:
            return _spans(text, rows.spans(row, "spans", len(text)))
        words, found = _places(row, len(text)), _strings(row, tags)
    else:
        words, found = _strings(row, tokens), _strings(row, tags)
    if not words or len(words) != len(found):
        raise UserError(f"{len(words)} words and {len(found)} tags; give one tag a word")
    return {"text": text, "words": words, "tags": iob2(found)} if tokens not in row else tagged(words, found)


def _strings(row, name):
    """The texts in a list, none of them blank."""
    if not isinstance(row, dict) or name not in row:
        raise UserError(readers.missing(row, name))
    found = rows.items(row[name], name)
    if not all(isinstance(text, str) and text.strip() for text in found):
        raise UserError(f"{name} holds something else than texts that are not empty; give words and not numbers")
    return [text.strip() for text in found]


def _places(row, length):
    """The offsets of a canonical object's words, in their order."""
    before, found = 0, []
    for number, place in enumerate(rows.items(row.get("words"), "words")):
        what = f"words[{number}]"
        if len(rows.items(place, what)) != 2:
            raise UserError(f"{what} has {len(place)} numbers; give start and end")
        start, end = (rows.whole(value, what) for value in place)
        if not before <= start < end <= length:
            raise UserError(f"{what} is {start} to {end} of a text of {length} characters, after {before}; give the "
                            "words in their order")
        before = end
        found.append([start, end])
    return found


def _spans(text, spans):
    """The example of a text with entities as spans: words end where a span does."""
    words, tags, at = [], [], 0
    for span in sorted(spans, key=lambda span: span["start"]) + [{"start": len(text), "end": len(text), "label": ""}]:
        if span["start"] < at:
            raise UserError(f"two of the spans share character {span['start']}; give spans that do not overlap")
        for start, end, label in ((at, span["start"], ""), (span["start"], span["end"], span["label"])):
            inside = words_of(text, start, end)
            words += inside
            tags += [f"{'I' if number else 'B'}-{label}" if label else "O" for number in range(len(inside))]
        at = span["end"]
    if not words:
        raise UserError("the text has no words; fill it or remove the example")
    return {"text": text, "words": words, "tags": tags}
