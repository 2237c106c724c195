"""./run.sh convert: a folder that lmlab and transformers load, whole or not at all."""

import json

import numpy as np
import pytest

import lmlab
from commands import quick, snapshot, tiny
from lmlab.utils.trees import by_path


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """(The folder that the verb made of the tiny run, how the verb ended)."""
    folder = tmp_path_factory.mktemp("convert") / "hf"
    return folder, quick("convert", f"--run={tiny() / 'run'}", f"--to_hf={folder}")


def test_what_was_written_loads_as_the_same_model(converted):
    folder, done = converted
    assert done.code == 0, done.err
    run, back = lmlab.load(tiny() / "run"), lmlab.load(folder)
    params, again = by_path(run.params), by_path(back.params)
    assert params.keys() == again.keys()
    for path, array in params.items():
        np.testing.assert_array_equal(array, again[path], err_msg=path)
    assert back.tokenizer.encode("the 春眠") == run.tokenizer.encode("the 春眠") and back.step == 0
    greedy = dict(max_new_tokens=8, temperature=0)
    assert lmlab.generate(back, "the", **greedy) == lmlab.generate(run, "the", **greedy)


def test_it_says_what_was_written_and_how_to_load_it(converted):
    folder, done = converted
    assert "model.safetensors" in done.out and "tokenizer.json" in done.out and "parameters" in done.out
    assert f".from_pretrained('{folder}')" in done.out and f"lmlab.load('{folder}')" in done.out
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(snapshot(folder))


def test_a_converted_model_converts_again(converted, tmp_path):
    folder, _ = converted
    (tmp_path / "again").mkdir()  # an empty one will do
    done = quick("convert", f"--run={folder}", f"--to_hf={tmp_path / 'again'}")
    assert done.code == 0, done.err
    assert snapshot(tmp_path / "again")["model.safetensors"] == snapshot(folder)["model.safetensors"]


def test_a_converted_model_is_scored_on_files_only(converted):
    folder, _ = converted
    done = quick("evaluate", f"--run={folder}")
    assert done.code == 1 and done.err.count("\n") == 1 and "no data of its own" in done.err
    text = f"--path={tiny() / 'text.txt'}"
    by_folder, by_run = (quick("evaluate", f"--run={source}", text, "--json") for source in (folder, tiny() / "run"))
    loss = lambda done: json.loads(done.out)["loss"]
    assert by_folder.code == 0 and loss(by_folder) == pytest.approx(loss(by_run), rel=1e-6)


def test_a_folder_with_something_in_it_is_left_alone(converted, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x")
    for target in ("mine", "mine/notes"):
        done = quick("convert", f"--run={tiny() / 'run'}", f"--to_hf={tmp_path / target}")
        assert done.code == 1 and done.err.count("\n") == 1 and "is there already" in done.err
    assert snapshot(tmp_path) == {"mine/notes": b"x"}


def test_what_cannot_be_loaded_leaves_nothing(tmp_path):
    for source, words in {"nowhere": "nowhere", "catalog:gpt5": "no such model", "x.gguf": "x.gguf"}.items():
        done = quick("convert", f"--run={source}", f"--to_hf={tmp_path / 'new'}")
        assert done.code == 1 and done.err.count("\n") == 1 and words in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_transformers_loads_it_without_a_warning(converted, caplog):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder, _ = converted
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()) and not caplog.records
    lm = lmlab.load(folder)
    ids = np.array([lm.tokenizer.encode("the cat 春眠")[:lm.model.spec.context]])
    with torch.no_grad():
        expected = model.eval()(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(lm.model.apply({"params": lm.params}, ids), expected, atol=2e-5)
    assert transformers.AutoTokenizer.from_pretrained(folder)("the", add_special_tokens=False).input_ids \
        == lm.tokenizer.encode("the")
