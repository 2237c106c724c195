"""Bad files of every kind: one line that names the file and the line, or the record, and says what would do."""

import copy
import json
import pkgutil

import pytest

from commands import command
from lmlab.data import corpus, formats
from lmlab.utils.errors import UserError

CONTEXT = "The Normans gave a name to Normandy."
QUESTION = {"question": "Which?", "choices": ["one", "red", "tree"]}
SPANS = [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 11, "label": "PER"}]
MET = {"text": "Ada met Bob.", "spans": SPANS, "relations": [{"head": 0, "tail": 1, "label": "met"}]}
USER, SYSTEM = {"role": "user", "content": "x"}, {"role": "system", "content": "x"}
ASKED, ANSWERED = {"prompt": "x", "chosen": "a"}, {"role": "assistant", "content": "x"}
DEEP = "[" * 100_000


def squad(*qas, context=CONTEXT):
    return {"data": [{"paragraphs": [{"context": context, "qas": list(qas)}]}]}


def answered(*answers):
    return {"question": "Who?", "answers": list(answers)}


def changed(row, *path, to):
    """A copy of a JSON value with another one at a path."""
    row = part = copy.deepcopy(row)
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = to
    return row


def after(good, rows):
    """Rows of (a bad object, what is told of it), as (name, content, place, told): in the second line after a good one,
    and as the second item of a list."""
    return [made for bad, told in rows for made in (
        ("a.jsonl", [good, bad], ", line 2: ", told), ("a.json", [good, bad], ", [1]: ", told))]


LABELLED = [
    ("a.csv", "text,category\na,b\n", ", line 1: ", "no column 'label'; it has text, category"),
    ("a.csv", "text,label\na,b\nc, \n", ", line 3: ", "the label is empty"),
    ("a.csv", "text,label\na,b\n,b\n", ", line 3: ", "the text is empty"),
    ("a.csv", 'text,label\n"a\nb",c\nd\n', ", line 4: ", "the row ends before column 'label'"),
    ("a.csv", "text,pair,label\na, ,b\n", ", line 2: ", "the pair is empty"),
    ("a.csv", "text,label\n", ": ", "the file is empty"),
    ("a.tsv", "text\tlabel\na\tb\n\xff\tb\n".encode("latin-1"), ", line 3: ", "not UTF-8 (byte 0xff)"),
    ("a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "a"}\n', ", line 3: ", "no text in field 'label'; it has text"),
    *after({"text": "a", "label": "x"}, [
        ({"text": 3, "label": 1}, "no text in field 'text'; it has int there"),
        (7, "no text in field 'text'; it has a int"),
        ({"text": "a", "label": ["x", 3]}, "the label is a list that holds something else"),
        ({"text": "a", "label": float("nan")}, "the label is no finite number"),
        ({"text": "a", "label": 10 ** 400}, "the label is no finite number")]),
    ("a.jsonl", DEEP, ", line 1: ", "not JSON"), ("a.json", DEEP, ": ", "not JSON (maximum recursion"),
    ("a.json", {"text": "a"}, " holds ", "a dict and no list"), ("a.json", b'["\xff"]', ", line 1: ", "not UTF-8"),
    ("a.json", '{"text": "a", "label": "x"}\n{}', ": ", "not JSON (Extra data: line 2"),
    ("a.txt", "text", ": ", "examples of this kind are not read from such a file; give .csv, .tsv, .jsonl, .json")]

TAGGED = [
    ("a.conll", "a O\nb\n\n", ", line 2: ", "1 columns, and 0,-1 are those of the word and the tag"),
    ("a.txt", "a\tO\n\tO\n", ", line 2: ", "the word or its tag is empty"),
    ("a.conll", b"a O\n\xff O\n", ", line 2: ", "not UTF-8"), ("a.txt", "\n\n", ": ", "the file is empty"),
    ("a.csv", "a,O\n", ": ", "columns of words and tags are no csv"),
    *after({"tokens": ["a"], "tags": ["O"]}, [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words and 1 tags; give one tag a word"),
        ({"tokens": ["a"], "tags": [3]}, "tags holds something else than texts"),
        ({"tokens": ["a"], "tags": [""]}, "tags holds something else than texts that are not empty"),
        ({"tokens": [], "tags": []}, "0 words and 0 tags"),
        ({"tokens": "a", "tags": []}, "tokens holds a str and no list"),
        ({"tokens": ["a"]}, "no text in field 'tags'; it has tokens"), (3, "no text in field 'tokens'; it has a int"),
        ({"text": "ab", "spans": [{"start": 1, "end": 3, "label": "X"}]}, "spans[0] is 1 to 3 of a text of 2"),
        ({"text": "ab", "spans": [{"start": 1.0, "end": 2, "label": "X"}]}, "spans[0].start is a float"),
        ({"text": "ab", "spans": [3]}, "spans[0] is a int"), ({"text": "ab"}, "words holds a NoneType and no list"),
        ({"text": "ab", "spans": [{"start": 0, "end": 2, "label": ""}]}, "the label is empty"),
        ({"text": "Ada met Bob.", "spans": [*SPANS, {"start": 2, "end": 4, "label": "Y"}]},
         "two of the spans share character 2"),
        ({"text": "ab c", "words": [[3, 4], [0, 2]], "tags": ["x", "y"]}, "words[1] is 0 to 2")])]

RELATIONS = after(MET, [
    (changed(MET, "relations", 0, "tail", to=3), "relations[0].tail is 3, and there are 2 spans"),
    (changed(MET, "relations", 0, "head", to=-1), "relations[0].head is -1"),
    (changed(MET, "relations", 0, "head", to="0"), "relations[0].head is a str"),
    (changed(MET, "relations", 0, "label", to=""), "the label is empty"),
    (changed(MET, "relations", 0, to=3), "relations[0] is a int"),
    (changed(MET, "relations", to=None), "relations holds a NoneType"),
    (changed(MET, "spans", 1, "end", to=13), "spans[1] is 8 to 13 of a text of 12"),
    (changed(MET, "spans", 0, "end", to=0), "spans[0] is 0 to 0"),
    (changed(MET, "spans", 0, to=[]), "spans[0] is a list"),
    (changed(MET, "spans", 1, "label", to=None), "no text in field 'label'"),
    (changed(MET, "text", to=" "), "the text is empty"), ({"text": "a", "spans": []}, "relations holds a NoneType")])

IN_SQUAD = ", data[0].paragraphs[0].qas[0]: "
QUESTIONS = [
    ("a.json", squad(answered(), answered({"text": "Normans", "answer_start": 3})),
     ", data[0].paragraphs[0].qas[1]: ",
     "answers[0], 'Normans', does not stand at character 3 of the context, but at 4, a shift of +1; correct the start"),
    ("a.json", squad(answered({"text": "Vikings", "answer_start": 3})), IN_SQUAD,
     "answers[0], 'Vikings', does not stand at character 3 of the context, and nowhere in it"),
    ("a.json", squad({"question": " ", "answers": []}), IN_SQUAD, "the question is empty"),
    ("a.json", squad(answered(), context=3), IN_SQUAD, "no text in field 'context'; it has int there"),
    ("a.json", squad({"question": "q"}), IN_SQUAD, "answers holds a NoneType and no list"),
    ("a.json", squad(answered(3)), IN_SQUAD, "answers[0] is a int"),
    ("a.json", squad(answered({"text": "The", "answer_start": "0"})), IN_SQUAD, "answers[0].start is a str"),
    ("a.json", squad(3), IN_SQUAD, "no text in field 'context'; it has a int"),
    ("a.json", changed(squad(), "data", 0, "paragraphs", 0, "qas", to={}), IN_SQUAD.replace(".qas[0]", ""),
     "qas holds a dict and no list"),
    ("a.json", {"data": [3]}, ", data[0]: ", "no list 'paragraphs' there"),
    ("a.json", {"questions": []}, ": ", "no list 'data' there; give SQuAD's data[].paragraphs[].qas[]"),
    ("a.json", [], ": ", "the file is empty"), ("a.json", "3", ": ", "no list 'data' there"),
    *after({"context": "a", **answered()}, [
        ({"context": "a", "question": "b", "answers": {"text": ["a"], "answer_start": []}}, "1 texts and 0 starts"),
        ({"context": "a", **answered({"text": "b", "start": 0})}, "and nowhere in it"),
        (answered(), "no text in field 'context'; it has question, answers")])]

CHOICES = after(QUESTION | {"answer": 0}, [
    *((QUESTION | {"answer": answer}, f"the answer {told}") for answer, told in (
        (3, "'3' is none of the 3 choices; give an index from 0"), (-1, "'-1' is none"), ("D", "'D' is none"),
        ("blue", "'blue' is none"), (True, "is a bool"), (1.0, "is a float"), (None, "is a NoneType"))),
    (QUESTION | {"choices": ["x", "x"], "answer": "x"}, "the answer 'x' is none"),
    (QUESTION | {"choices": ["a"], "answer": 0}, "choices are not two or more texts"),
    (QUESTION | {"choices": ["a", " "], "answer": 0}, "choices are not two or more texts"),
    (QUESTION | {"choices": "ab", "answer": 0}, "choices holds a str and no list"),
    (QUESTION | {"context": 3, "answer": 0}, "no text in field 'context'"),
    (QUESTION | {"question": "", "answer": 0}, "the question is empty")])

MESSAGES = [
    *after({"messages": [USER, ANSWERED]}, [  # of OpenAI, of ShareGPT, of Alpaca
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]: unknown role 'tool'; give one of system"),
        ({"messages": [{"role": 3, "content": "x"}]}, "unknown role '3'"),
        ({"messages": [{"content": "x"}]}, "unknown role 'None'"),
        ({"messages": [{"role": "user", "content": None}]}, "no text in field 'content'; it has NoneType there"),
        ({"messages": [{"role": "user", "content": ""}]}, "the content is empty"),
        ({"messages": [USER]}, "no message is an assistant's"), ({"messages": []}, "no message is an assistant's"),
        ({"messages": ["x"]}, "messages[0] is a str"), ({"messages": "x"}, "messages holds a str and no list"),
        ({"messages": [USER, SYSTEM]}, "messages[1] is a system's"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "conversations[0]: unknown role 'tool'"),
        ({"conversations": [{"from": "human", "value": ""}]}, "the value is empty"),
        ({"instruction": "x", "output": ""}, "the output is empty"),
        ({"instruction": "x"}, "no text in field 'output'"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "history[0] is no pair"),
        ({"instruction": "x", "output": "y", "history": "a"}, "history holds a str"),
        ({"instruction": "x", "output": "y", "input": 3}, "no text in field 'input'"),
        ({"text": "x"}, "no messages in field 'messages'; it has text"),
        ([], "no messages in field 'messages'; it has a list")]),
    ("a.csv", "q,a\nx,y\n", ", line 1: ", "no column 'user'; it has q, a"),
    ("a.csv", "role\nuser\n", ", line 1: ", "no column 'content'; it has role"),
    ("a.csv", "role,content\nuser,a\nbot,b\n", ", line 3: ", "the row: unknown role 'bot'"),
    ("a.csv", "user,assistant\na,b\nc,\n", ", line 3: ", "the assistant is empty"),
    ("a.tsv", "conversation\trole\tcontent\n1\tuser\ta\n1\tassistant\n", ", line 3: ", "ends before column 'content'")]

PREFERENCES = after(ASKED | {"rejected": "b"}, [
    (ASKED, "no text in field 'rejected'; it has prompt, chosen"),
    (ASKED | {"rejected": "a"}, "the chosen and the rejected answer are the same"),
    (ASKED | {"rejected": ""}, "the rejected is empty"),
    (ASKED | {"rejected": [ANSWERED, ANSWERED]}, "no text in field 'rejected'; it has list there"),
    (ASKED | {"rejected": USER}, "rejected is a user's message"),
    (ASKED | {"rejected": {"from": "bot", "value": "b"}}, "rejected: unknown role 'bot'"),
    (ASKED | {"prompt": [], "rejected": "b"}, "the prompt does not end with what a user says"),
    (ASKED | {"prompt": [ANSWERED], "rejected": "b"}, "the prompt does not end with what a user says"),
    (ASKED | {"prompt": 3, "rejected": "b"}, "prompt holds a int and no list"),
    ({"chosen": "a", "rejected": "b"}, "no text in field 'instruction'"),
    ({"messages": [USER], "label": True}, "no text in field 'completion'"),
    ({"messages": [ANSWERED], "label": True}, "the prompt does not end"),
    ({"messages": [USER], "label": "yes"}, "neither 'chosen' and 'rejected' nor label, kto_tag, good with true or"),
    ({"prompt": "x"}, "neither 'chosen' and 'rejected' nor"), ("x", "no text in field 'chosen'; it has a str")])

SIMILAR = [
    ("a.csv", "first,second\na,b\n", ", line 1: ", "no column 'score'; it has first, second"),
    ("a.csv", "anchor,negative\na,b\n", ", line 1: ", "no column 'positive'"),
    ("a.csv", "first,second,score\na,b,1\na,b,high\n", ", line 3: ", "the score 'high' is no number"),
    ("a.csv", "first,second,score\na,b,nan\n", ", line 2: ", "the score is no finite number"),
    *after({"anchor": "a", "positive": "b"}, [
        ({"first": "a", "second": "b", "score": True}, "the score is no finite number"),
        ({"first": "a", "second": "b"}, "the score is no finite number"),
        ({"first": "a", "second": "b", "score": 10 ** 400}, "the score is no finite number"),
        ({"first": "", "second": "b", "score": 1}, "the first is empty"),
        ({"anchor": "a"}, "no text in field 'positive'"),
        ([], "no text in field 'first'; it has a list"),
        ({"anchor": "a", "positive": "b", "negative": 3}, "no text in field 'negative'")])]

PAIRS = [  # translations, summaries, corrections
    ("a.de+a.en", ("x\ny\nz", "one\ntwo\n"), "a.en: ", "2 lines, and the other file of a.de+a.en has more"),
    ("a.de+a.en", ("x\ny\nz", "1\n2\n3\n4\n"), "a.de: ", "3 lines, and the other file of a.de+a.en has more"),
    ("a.de+a.en", ("x\ny", b"one\n\xff"), "a.en, line 2: ", "not UTF-8"),
    ("a.de+a.en", ("x\ny\0", "1\n2\n"), "a.de, line 2: ", "a NUL byte"),
    ("a.de+a.en", ("x\ny\nz", "\n\n\n"), "a.de+a.en: ", "the file is empty"),
    ("a.csv", "text,summary\na,b\n", ", line 1: ", "no column 'source'; it has text, summary"),
    ("a.tsv", "source\ttarget\na\tb\nc\n", ", line 3: ", "the row ends before column 'target'"),
    ("a.csv", 'source,target\na,"b\n', ", line 2: ", "not csv"),
    ("a.jsonl", [{"source": "a"}], ", line 1: ", "no text in field 'target'; it has source"),
    ("a.jsonl", [{"source": "a", "target": None}], ", line 1: ", "no text in field 'target'; it has NoneType there"),
    ("a.jsonl", [3], ", line 1: ", "no text in field 'source'; it has a int"),
    ("a.jsonl", '{"source": "a", "target": "b"}\n\n{"source": ', ", line 3: ", "not JSON")]

BAD = {"labelled": LABELLED, "tagged": TAGGED, "relations": RELATIONS, "questions": QUESTIONS, "choices": CHOICES,
       "messages": MESSAGES, "preferences": PREFERENCES, "similar": SIMILAR, "pairs": PAIRS}
ROWS = {f"{kind} {number}": (kind, *row) for kind, rows in BAD.items() for number, row in enumerate(rows)}


def write(folder, name, content):
    """The path of a file of a content: text, bytes, a JSON value for .json, a list of them for .jsonl; of two files for
    a name with +."""
    contents = dict(zip(name.split("+"), content if "+" in name else (content,), strict=True))
    for part, content in contents.items():
        if part.endswith(".jsonl") and isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        elif part.endswith(".json") and not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        (folder / part).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return f"{folder}/{name}"


@pytest.mark.parametrize("kind, name, content, place, told", ROWS.values(), ids=ROWS)
def test_a_bad_file_is_told_of_in_one_line_with_its_place(tmp_path, kind, name, content, place, told):
    reads = dict(reads=None, field="source,target") if kind == "pairs" else dict(reads=kind)
    with pytest.raises(UserError) as error:
        corpus.build(path=write(tmp_path, name, content), **reads)
    said = str(error.value).replace(f"{tmp_path}/", "")
    assert said.startswith(place if "+" in name else name + place) and told in said
    assert said.isprintable() and len(said) < 600 and ("; " in said or "config.data" in said)


def test_every_format_is_here():
    assert {name for _, name, _ in pkgutil.iter_modules(formats.__path__)} - {"rows"} == {*BAD} - {"pairs"}


@pytest.mark.slow
@pytest.mark.parametrize("config, name, content, told", [
    ("classification", "a.csv", "text,label\na,b\nc, \n", "a.csv, line 3: the label is empty"),
    ("question_answering", "a.json", squad(answered({"text": "Vikings", "answer_start": 3})), "a.json" + IN_SQUAD),
    ("seq2seq", "a.de+a.en", ("x\ny\nz", "one\ntwo\n"), "a.en: 2 lines, and the other file of")])
def test_training_on_it_ends_with_that_line_alone(tmp_path, config, name, content, told):
    path = write(tmp_path, name, content)
    done = command("train", f"--config=configs/{config}.py:tiny", f"--workdir={tmp_path / 'run'}",
                   "--config.data.source=files", f"--config.data.path={path}", devices=1)
    assert done.code not in (0, -9) and done.err.startswith(f"error: {tmp_path}/") and told in done.err
    assert done.err.count("\n") == 1 and "Traceback" not in done.err + done.out and not (tmp_path / "run").exists()
