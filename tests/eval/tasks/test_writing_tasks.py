"""Translations, summaries and corrections measured beside their baselines: by sacrebleu, the metrics, and by hand."""

import pytest
import sacrebleu

from lmlab.decoding import text2text
from lmlab.eval import lexical, tasks
from lmlab.eval.metrics import edits, rouge
from lmlab.eval.metrics import translation as metrics
from lmlab.eval.tasks import correction, summarization, translation

TRAIN = [{"source": "the house", "target": "das Haus"}, {"source": "the book", "target": "das Buch"},
         {"source": "a book .", "target": "ein Buch ."}]
HELD = [{"source": "a house and the book", "target": "ein Haus und das Buch"},
        {"source": "the book is a book", "target": "das Buch ist ein Buch"},
        {"source": "the small old house", "target": "das kleine alte Haus"}]


@pytest.fixture
def says(monkeypatch):
    """A function: from then on every model says these texts."""
    monkeypatch.setattr(tasks, "TRIALS", 20)

    def set_to(texts, asked=None):
        def answers(lm, sources, **settings):
            assert asked is None or (sources, settings) == asked
            return texts
        monkeypatch.setattr(text2text, "answers", answers)
    return set_to


def values(scores):
    return {name: score["value"] for name, score in scores.items()}


def test_translations_are_scored_by_sacrebleu(says, tmp_path):
    said = ["ein Haus und ein Buch", "das Buch ist ein Buch", "das alte kleine Haus"]
    says(said, ([one["source"] for one in HELD], {"beams": 4, "length_penalty": 0.6}))
    report = tasks.measure(translation.task(None, beams=4, length_penalty=0.6), TRAIN, HELD, tmp_path)
    gold = [one["target"] for one in HELD]
    for name, texts in (("model", said), ("copy", [one["source"] for one in HELD]),
                        ("word for word", lexical.word_for_word([tuple(one.values()) for one in TRAIN],
                                                                [one["source"] for one in HELD]))):
        scores = report["model"] if name == "model" else report["baselines"][name]
        assert values(scores) == pytest.approx({
            "bleu": sacrebleu.corpus_bleu(texts, [gold]).score, "chrf": sacrebleu.corpus_chrf(texts, [gold]).score,
            "ter": sacrebleu.corpus_ter(texts, [gold]).score})
        assert all(score["low"] <= score["high"] for score in scores.values())
    assert report["difference"]["bleu"]["copy"]["value"] > 0
    assert {name: part["examples"] for name, part in report["slices"].items()} == {
        "shortest quarter": 1, "second quarter": 1, "third quarter": 1}
    assert report["notes"]["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert "bleu: nrefs:1|" in tasks.table(report) and "ein Haus und ein Buch" in (tmp_path / "said.jsonl").read_text()


@pytest.mark.parametrize("target, cut", [("他在家。", "tok:zh"), ("これはペンです。", "tok:char"), ("zu Haus", "tok:13a")])
def test_the_target_tells_how_it_is_cut(says, target, cut):
    if cut == "tok:char" and sacrebleu.BLEU.TOKENIZER_DEFAULT and metrics.importlib.util.find_spec("MeCab"):
        cut = "tok:ja-mecab"
    says([target])
    report = tasks.measure(translation.task(None), [], [{"source": "at home", "target": target}])
    assert cut in report["notes"]["bleu"] and report["model"]["ter"]["value"] == 0
    assert report["baselines"]["word for word"] == report["baselines"]["copy"]  # learned from nothing


def test_summaries_are_scored_by_rouge_beside_the_first_sentences(says):
    text = "A cat sat down. It was black. It slept all day. Then it left."
    held = [{"source": text, "target": "A black cat sat. It left."},
            {"source": "Only one.", "target": "Only that one."}]
    said = ["A cat sat. It left.", "One."]
    says(said, ([one["source"] for one in held], {"task": "summarization", "beams": 1, "length_penalty": 1.0}))
    report = tasks.measure(summarization.task(None), [], held)
    gold = [["A black cat sat.\nIt left."], ["Only that one."]]
    for scores, texts in ((report["model"], ["A cat sat.\nIt left.", "One."]),
                          (report["baselines"]["first three sentences"],
                           ["A cat sat down.\nIt was black.\nIt slept all day.", "Only one."])):
        expected = rouge.scores(gold, texts)
        assert values(scores) == pytest.approx({name: expected[name] for name in ("rouge1", "rouge2", "rougeLsum")})


def test_corrections_are_scored_by_their_edits(says):
    pairs = [("he go home", "he goes home"), ("all is well", "all is well"), ("teh end", "the end"), ("ok", "ok")]
    train = [{"source": "teh dog", "target": "the dog"}] * 2
    held = [dict(zip(("source", "target"), pair)) for pair in pairs]
    said = ["he goes home", "all was well", "teh end", "ok"]
    says(said)
    report = tasks.measure(correction.task(None), train, held)
    for scores, texts in ((report["model"], said), (report["baselines"]["as it is"], [a for a, _ in pairs]),
                          (report["baselines"]["confusions and bigrams"],
                           ["he go home", "all is well", "the end", "ok"])):
        assert values(scores) == pytest.approx(edits.scores(*zip(*pairs), texts, "word"))
    assert values(report["model"])["f0.5"] == 0.5 and values(report["model"])["false_positive_rate"] == 0.5
    assert {name: part["examples"] for name, part in report["slices"].items()} == {"with a mistake": 2, "without": 2}


def test_edits_of_chinese_are_of_characters(says):
    says(["他再来"])
    report = tasks.measure(correction.task(None), [], [{"source": "她在来", "target": "他再来了"}])
    assert values(report["model"]) == pytest.approx(edits.scores(["她在来"], ["他再来了"], ["他再来"], "character"))
