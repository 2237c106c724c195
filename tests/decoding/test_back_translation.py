"""Texts there and back: as two calls of generate, text by text."""

import json

import pytest

import lmlab
import tasks
from commands import quick
from lmlab.decoding.back_translation import back_translated
from lmlab.utils.errors import UserError

TEXTS = ["the cat sat on the mat", "", "paris is in france", "a dog ran " * 40]


@pytest.mark.slow
def test_each_text_is_translated_there_and_back():
    lm = tasks.model("encoder-decoder")
    found = back_translated(lm, lm, TEXTS, temperature=0)
    there = lmlab.generate(lm, [TEXTS[0], TEXTS[2]], max_new_tokens=64, temperature=0)
    back = [lmlab.generate(lm, text.strip(), max_new_tokens=64, temperature=0).strip() or None
            if text.strip() and len(lm.tokenizer.encode(text.strip())) < 63 else None for text in there]
    assert found == [back[0], None, back[1], None]
    drawn = [back_translated(lm, lm, TEXTS, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    with pytest.raises(UserError, match="one of the models has no encoder"):
        back_translated(lm, tasks.model("decoder"), TEXTS)


@pytest.mark.slow
def test_the_verb_keeps_labels(tmp_path):
    pairs = [(f"{a} {b}", f"{b} {a}") for a in "abcdefgh" for b in "ijklmnop"]
    (tmp_path / "pairs.tsv").write_text("".join(f"{x}\t{y}\n" for x, y in pairs))
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"{x},{i % 2}\n" for i, (x, _) in enumerate(pairs)))
    done = quick("train", "--config=configs/seq2seq.py:tiny,tokenizer.name=bytes,model.context=32,model.width=32,"
                 "train.steps=2,optimizer.warmup=1,evals.samples=0,evals.baselines=false,data.source=files",
                 f"--workdir={tmp_path / 'run'}", f"--config.data.path={tmp_path / 'pairs.tsv'}",
                 "--config.data.field=0,1", XLA_FLAGS="--xla_force_host_platform_device_count=1")
    assert done.code == 0, done.err
    done = quick("back_translate", f"--path={tmp_path / 'texts.csv'}", f"--there={tmp_path / 'run'}",
                 f"--back={tmp_path / 'run'}", f"--out={tmp_path / 'more.jsonl'}", "--temperature=1")
    assert done.code == 0, done.err
    more = [json.loads(line) for line in (tmp_path / "more.jsonl").read_text("utf-8").splitlines()]
    assert f"{len(more)} of 64 examples came back in other words" in done.err
    assert all(one.keys() == {"text", "label"} and one["label"] in ("0", "1") and one["text"].strip() for one in more)
    bad = quick("back_translate", "--path=x.csv", "--there=a", "--back=b", "--out=more.csv")
    assert bad.code == 1 and "must end in .jsonl" in bad.err
