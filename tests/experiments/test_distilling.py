"""Distillation as a user does it: a run teaches a smaller one, which is then a run like any other."""

import csv
import json
import shutil

import numpy as np
import pytest

import lmlab
from commands import quick, rewrite, snapshot, tiny
from lmlab import run
from lmlab.utils.trees import by_path

ONE = dict(XLA_FLAGS="--xla_force_host_platform_device_count=1")


def train(folder, data, *more, config="configs/gpt.py:tiny"):
    """The verb, four steps with a checkpoint after two."""
    return quick("train", f"--config={config}", f"--workdir={folder}", f"--config.data.path={data}",
                 "--config.train.steps=4", "--config.evals.every=2", "--config.train.keep=4",
                 "--config.evals.samples=0", "--config.evals.baselines=false", "--config.train.length=16", *more, **ONE)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A folder with student/, which has the first of the two layers of the tiny run, and what the command said."""
    folder = tmp_path_factory.mktemp("distilling")
    before = snapshot(tiny() / "run")
    done = train(folder / "student", tiny() / "text.txt", f"--config.distil.teacher={tiny() / 'run'}",
                 "--config.distil.layers=1", "--config.train.accumulation=2")
    assert done.code == 0, done.err
    assert snapshot(tiny() / "run") == before
    return folder, done


def test_the_student_begins_as_the_teacher_s_layers_and_is_a_run_without_it(taught):
    folder, done = taught
    assert "all            " in done.err and "loaded" in done.err
    student, teacher = lmlab.load(folder / "student"), lmlab.load(tiny() / "run")
    assert student.model.spec.layers == 1 and by_path(student.params).keys() == by_path(teacher.params).keys()
    assert student.params["trunk"]["blocks"]["ff"]["wi"]["kernel"].shape[0] == 1
    assert run.read_record(folder / "student")["teacher"] == run.digest(teacher)
    assert lmlab.generate(student, "the", max_new_tokens=3, temperature=0)
    start = run.shallow(teacher, 1)
    np.testing.assert_array_equal(by_path(start.params)["trunk/blocks/ff/wi/kernel"],
                                  by_path(teacher.params)["trunk/blocks/ff/wi/kernel"][:1])


def test_it_resumes_bit_for_bit(taught, tmp_path):
    folder, _ = taught
    again = shutil.copytree(folder / "student", tmp_path / "again")
    shutil.rmtree(again / "checkpoints" / "4")
    done = train(again, tiny() / "text.txt", f"--config.distil.teacher={tiny() / 'run'}", "--config.distil.layers=1",
                 "--config.train.accumulation=2")
    assert done.code == 0, done.err
    same, wanted = (by_path(lmlab.load(each, 4).params) for each in (again, folder / "student"))
    assert same.keys() == wanted.keys() and all(np.array_equal(same[path], wanted[path]) for path in same)


def test_a_teacher_that_is_another_one_now_is_refused(taught, tmp_path):
    again = shutil.copytree(taught[0] / "student", tmp_path / "again")
    rewrite(again, run.digest(lmlab.load(tiny() / "run")), "0" * 64, names=("run.json",))
    done = train(again, tiny() / "text.txt", f"--config.distil.teacher={tiny() / 'run'}", "--config.distil.layers=1",
                 "--config.train.accumulation=2", "--config.train.steps=6")
    assert done.code == 1 and "learned from another network than config.distil.teacher=" in done.err.splitlines()[-1]


def test_every_other_layer():
    lm = lmlab.load(tiny() / "run")
    lm.params["trunk"]["blocks"] = {"x": np.arange(12.0)}
    lm.config.model.layers = 12
    assert run.shallow(lm, 6).params["trunk"]["blocks"]["x"].tolist() == [0, 2, 4, 6, 8, 10]
    assert run.shallow(lm, 4).params["trunk"]["blocks"]["x"].tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize("more, message", [
    (["--config.distil.layers=3"], "config.distil.layers=3, and config.distil.teacher has 2; set it to 2 or less"),
    (["--config.distil.layers=1", "--config.model.width=64"], "config.model.width=64, and the network of config."),
    (["--config.tokenizer.name=chars"], "config.tokenizer.name='chars' does not go with config.distil.teacher="),
    (["--config.distil.hidden=1", "--config.model.width=16"], "compares states, and config.distil.teacher="),
    (["--config.train.length=40", "--config.model.context=64"], "reads at most 32 tokens, and a row has 40")])
def test_what_cannot_be_learned_from_is_told_in_one_line(more, message, tmp_path):
    done = train(tmp_path / "bad", tiny() / "text.txt", f"--config.distil.teacher={tiny() / 'run'}", *more)
    assert done.code == 1 and message in done.err.splitlines()[-1] and "Traceback" not in done.err, done.err


@pytest.mark.slow
def test_a_classifier_teaches_one_without_its_layers(tmp_path):
    with open(tmp_path / "data.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"{i} a {('saw', 'dog')[i % 2]}", i % 2) for i in range(99))])
    common = dict(config="configs/classification.py:tiny")
    source = ["--config.data.source=files", "--config.train.length=32"]
    assert train(tmp_path / "teacher", tmp_path / "data.csv", *source, **common).code == 0
    done = train(tmp_path / "student", tmp_path / "data.csv", *source,
                 f"--config.distil.teacher={tmp_path / 'teacher'}", "--config.model.width=16", **common)
    assert done.code == 0, done.err
    lm = lmlab.load(tmp_path / "student")
    assert lm.labels == ("0", "1") and lm.model.spec.width == 16
    assert quick("evaluate", f"--run={tmp_path / 'student'}", "--split=test").code == 0
    both = f"--run={tmp_path / 'student'},{tmp_path / 'teacher'}"
    done = quick("evaluate", both, "--split=test", "--ensemble=vote")
    assert done.code == 0 and "majority" in done.out, done.err
    report = json.loads((tmp_path / "student" / "evaluation" / "classification-vote" / "test.json").read_text())
    assert report["runs"] == [str(tmp_path / "student"), str(tmp_path / "teacher")]
    assert "is another network" in quick("evaluate", both, "--ensemble=weights").err
    other = train(tmp_path / "other", tmp_path / "data.csv", *source,
                  f"--config.distil.teacher={tiny() / 'run'}", **common)
    assert "tells no head, and this network 0, 1" in other.err.splitlines()[-1]
