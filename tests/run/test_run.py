"""A run folder back into a model: whole, or refused with what is wrong."""

import json
import shutil

import jax
import numpy as np
import pytest

import lmlab
from commands import rewrite, tiny
from lmlab import run
from lmlab.data.tokenizers import plain
from lmlab.train import checkpoint
from lmlab.utils import sealed
from lmlab.utils.errors import UserError


@pytest.fixture
def copy(tmp_path):
    """The tiny run, to be harmed."""
    return shutil.copytree(tiny() / "run", tmp_path / "run")


def flip(path, byte, bit=0):
    """Flips one bit of a file."""
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_load_gives_all_that_is_needed():
    lm = lmlab.load(str(tiny() / "run"))
    assert lm.step == 6 and lm.config.model.width == 32 and lm.config.is_locked and lm.tokenizer.kind == "bytes"
    assert all(isinstance(x, np.ndarray) and x.dtype == np.float32 for x in jax.tree.leaves(lm.params))
    logits = lm.model.apply({"params": lm.params}, np.array([lm.tokenizer.encode("春 cat")]))
    assert logits.shape == (1, 7, 257) and np.isfinite(logits).all()


def test_load_a_step_by_name():
    three, six = run.load(tiny() / "run", 3), run.load(tiny() / "run", 6)
    assert (three.step, six.step) == (3, 6)
    assert not np.array_equal(three.params["token_embedding"], six.params["token_embedding"])
    with pytest.raises(UserError, match=r"no checkpoint of step 5; there are \[3, 6\]"):
        run.load(tiny() / "run", 5)


def test_a_run_without_checkpoint_is_named(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint yet"):
        run.load(copy)


def test_a_damaged_newest_step_is_said_and_the_one_before_used(copy, capsys):
    flip(max(p for p in (copy / "checkpoints" / "6" / "params").rglob("*") if p.is_file()), 0)
    before = sorted(p.name for p in (copy / "checkpoints").iterdir())
    assert run.load(copy).step == 3
    assert "checkpoint 6 is damaged" in capsys.readouterr().err
    with pytest.raises(UserError, match="checkpoint 6 is damaged"):
        run.load(copy, 6)
    assert sorted(p.name for p in (copy / "checkpoints").iterdir()) == before


def test_every_byte_of_the_tokenizer_counts(copy):
    for file in sorted((copy / "tokenizer").iterdir()):
        whole = file.read_bytes()
        for byte in range(0, len(whole) - 1):  # the last is a line break
            flip(file, byte, byte % 8)
            if file.name == "sha256" and file.read_bytes().strip() == whole.strip():
                continue
            try:
                assert run.load_tokenizer(copy).kind == "bytes" and json.loads(file.read_text()) == json.loads(whole)
            except UserError as error:
                assert str(copy) in str(error)
            file.write_bytes(whole)
    run.load_tokenizer(copy)


@pytest.mark.parametrize("name", ["chars", "bpe", "bbpe"])
def test_a_damaged_tokenizer_is_refused(tmp_path, name):
    config = run.load_config(tiny() / "run").copy_and_resolve_references()
    with config.unlocked():
        config.tokenizer.name, config.tokenizer.vocab_size = name, 320 if name != "bbpe" else 300
    tokenizer = run.prepare(config).tokenizer
    run.save_tokenizer(tokenizer, tmp_path)
    assert run.load_tokenizer(tmp_path).encode("the 春") == tokenizer.encode("the 春")
    for file in sorted((tmp_path / "tokenizer").iterdir()):
        whole, ours = file.read_bytes(), tokenizer.encode("the 春眠 of 啼鸟\n")
        for byte in np.random.default_rng(0).integers(0, len(whole) - 1, 40):
            flip(file, byte, 1)
            try:
                assert run.load_tokenizer(tmp_path).encode("the 春眠 of 啼鸟\n") == ours  # white space in a JSON file
            except UserError as error:
                assert str(tmp_path) in str(error)
            file.write_bytes(whole)
        file.unlink()
        with pytest.raises(UserError):
            run.load_tokenizer(tmp_path)
        file.write_bytes(whole)


def test_a_config_that_does_not_fit_the_parameters_is_refused(copy):
    for old, new in (('"width": 32', '"width": 36'), ('"layers": 2', '"layers": 3'), ('"bias": true', '"bias": false'),
                     ('"context": 32', '"context": 33'), ('"tied": true', '"tied": false')):
        rewrite(copy, old, new)
        with pytest.raises(UserError, match="does not fit its checkpoints"):
            run.load(copy)
        rewrite(copy, new, old)


def test_a_config_older_than_a_field_loads(copy):
    plain = sealed.read(copy / "config.json")
    del plain["model"]["logit_softcap"], plain["evals"]
    sealed.write(copy / "config.json", plain)
    lm = run.load(copy)
    assert lm.config.model.logit_softcap == 0 and lm.config.evals.samples == 1


def test_files_of_another_run_are_refused_though_each_is_whole(copy, tmp_path):
    other = shutil.copytree(copy, tmp_path / "other")
    rewrite(other, '"seed": 0', '"seed": 1')
    assert run.load(other).config.seed == 1  # the control
    for name in ("config.json", "run.json"):
        mine = (copy / name).read_bytes()
        shutil.copy(other / name, copy / name)
        with pytest.raises(UserError, match=r"is not of the run that run.json .* \(config.seed differs\)"):
            run.load(copy)
        (copy / name).write_bytes(mine)
    run.save_tokenizer(plain.Chars("".join(map(chr, range(32, 32 + 255)))), copy)
    with pytest.raises(UserError, match="is not the tokenizer that the run was trained with"):
        run.load(copy)


def test_what_a_resume_may_change_does_not_make_another_run(copy):
    """A kill may fall between the writing of run.json and of config.json."""
    steps = sealed.read(copy / "config.json") | {"mesh": {"data": 2}}
    sealed.write(copy / "config.json", steps)
    assert run.load_config(copy).mesh.data == 2


def test_a_run_without_record_is_loaded_but_its_text_is_not_trusted(copy):
    (copy / "run.json").unlink()
    assert run.load(copy).step == 6 and run.read_sessions(copy) == []
    with pytest.raises(UserError, match="run.json is missing, so that nothing tells whether"):
        run.check_text(copy, run.prepare(run.load_config(tiny() / "run")))


def test_synonyms_are_part_of_what_a_run_learned_from_and_no_part_of_the_model(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"a cat {i},{'xy'[i % 2]}\n" for i in range(60)))
    synonyms = tmp_path / "synonyms.txt"
    synonyms.write_text("cat,puss\n")
    config = run.complete({"model": {"name": "transformer"}, "data": {"path": str(tmp_path / "a.csv")},
                           "objective": {"name": "classification", "augment": 0.1, "synonyms": str(synonyms)}}, {})
    train = lambda: run.prepare(config, start=lambda: None)
    data = train()
    run.save_tokenizer(data.tokenizer, tmp_path)
    run.save_record(tmp_path, config, data, {})
    run.check_text(tmp_path, data)
    synonyms.write_text("cat,kitten\n")
    assert train().digest() != data.digest()
    with pytest.raises(UserError, match="was trained with other synonyms than the file"):
        run.check_text(tmp_path, train())
    synonyms.unlink()
    with pytest.raises(UserError, match="synonyms.txt is no file"):
        train()
    run.check(config)  # what is loaded or evaluated needs them no more
    run.check_text(tmp_path, run.prepare(config))


def test_where_a_run_has_begun(copy, tmp_path):
    assert run.has_begun(copy) and not run.has_begun(tmp_path) and not run.has_begun(tmp_path / "none")
    (copy / "config.json").unlink()
    with pytest.raises(UserError, match="has checkpoints but no config.json"):
        run.has_begun(copy)
    shutil.rmtree(copy / "checkpoints")
    assert not run.has_begun(copy)


def test_loaded_parameters_are_those_saved():
    folder = tiny() / "run" / "checkpoints"
    read = checkpoint.restore_params(folder, 6)
    lm = run.load(tiny() / "run")
    assert jax.tree.all(jax.tree.map(np.array_equal, read, lm.params))
