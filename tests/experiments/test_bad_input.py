"""Each mistake: one line that says what, where and what would do; exit code not 0; fast; nothing written over."""

import shutil

import pytest

from commands import command, quick, rewrite, snapshot, tiny
from lmlab import run
from lmlab.data.tokenizers import plain


def flip(path):
    """Flips one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of files and runs that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 9)
    (folder / "broken.py").write_text("def get_config(arg):\n    return nothing\n")
    for name in ("good", "flipped", "tokenizer", "config", "emptied", "misfit", "strange", "seed", "configless",
                 "record", "recordless", "foreign", "foreign_text", "foreign_tokenizer", "file", "renamed"):
        shutil.copytree(tiny() / "run", folder / name)
    shutil.rmtree(folder / "flipped" / "checkpoints" / "3")
    params = [p for p in (folder / "flipped" / "checkpoints" / "6" / "params").rglob("*") if p.is_file()]
    flip(max(params, key=lambda p: p.stat().st_size))
    flip(folder / "tokenizer" / "tokenizer" / "lmlab_tokenizer.json")
    config = folder / "config" / "config.json"
    config.write_bytes(config.read_bytes()[:300])
    (folder / "emptied" / "config.json").write_text("{}")
    for name, old, new in (("misfit", '"width": 32', '"width": 48'), ("strange", '"width"', '"widht"'),
                           ("foreign", '"width": 32', '"width": 48')):
        rewrite(folder / name, old, new)
    rewrite(folder / "foreign_text", '"fingerprint": "', '"fingerprint": "0', ["run.json"])
    for name, old, new in (("seed/config", '"seed": 0', '"seed": 1'), ("record/run", '"count": 8', '"count": 9')):
        path = folder / f"{name}.json"
        path.write_text(path.read_text().replace(old, new))
    (folder / "configless" / "config.json").unlink()
    (folder / "recordless" / "run.json").unlink()
    run.save_tokenizer(letters(), folder / "foreign_tokenizer")
    for step in ("3", "6"):
        shutil.rmtree(folder / "file" / "checkpoints" / step)
        (folder / "file" / "checkpoints" / step).write_text("")
    shutil.move(folder / "renamed" / "checkpoints" / "3", folder / "renamed" / "checkpoints" / "9")
    return folder


def letters():
    """Another tokenizer, with as many ids as the bytes that the tiny run has."""
    return plain.Chars("".join(map(chr, range(32, 32 + 255))))


def train(*flags, run="none", data="{tiny}/text.txt", config="configs/gpt.py:tiny"):
    """A training command; {place} stands for the folder, {tiny} for that of the run that was copied."""
    return ["train", f"--config={config}", f"--workdir={{place}}/{run}", f"--config.data.path={data}", *flags]


SAME = ("--config.train.steps=6", "--config.evals.every=3")  # as the run that was copied

ROWS = {
    "misspelt key": (train("--config.train.stpes=5"),
        "config.train.stpes does not exist; did you mean 'config.train.steps'"),
    "misspelt section": (train("--config.trian.steps=5"),
        "config.trian.steps does not exist; did you mean 'config.train.steps'"),
    "misspelt key in the argument": (train(config="configs/gpt.py:tiny,train.stpes=5"),
        "config.train.stpes does not exist"),
    "misspelt key, two words": (train("--config.train.stpes", "5"), "did you mean 'config.train.steps'"),
    "wrong type": (train("--config.train.steps=abc"), "config.train.steps=abc must be of type int"),
    "wrong type, nearly": (train("--config.train.steps=1.5"), "config.train.steps=1.5 must be of type int"),
    "wrong type, bool": (train("--config.evals.baselines=maybe"),
        "config.evals.baselines=maybe must be of type bool"),
    "unknown preset": (train(config="configs/gpt.py:tinny"), "'tinny' is no preset; did you mean 'tiny'"),
    "missing config file": (train(config="configs/gtp.py:tiny"),
        "configs/gtp.py:tiny: no such file; did you mean 'configs/gpt.py'"),
    "broken config file": (["train", "--config={place}/broken.py:x", "--workdir={place}/none"],
        "broken.py:x, line 2: NameError"),
    "no config": (["train", "--workdir={place}/none"], "--config= is missing"),
    "two configs": (train("--config=configs/gpt.py"), "--config= is given twice"),
    "seed": (train("--config.seed=-1"), "config.seed=-1"),
    "mesh": (train("--config.mesh.fsdp=3"), "config.mesh.fsdp=3 does not divide 8 devices; try 2, 4"),
    "heads": (train("--config.model.heads=5"),
        "config.model.heads=5 does not divide config.model.width=32; try 1, 2, 4"),
    "batch": (train("--config.train.batch=12"), "config.train.batch=12 must be a multiple of 8"),
    "no model": (train("--config.model.name=transfomer"), "did you mean 'transformer'"),
    "empty file": (train(data="{place}/empty.txt"), "empty.txt: the file is empty"),
    "binary file": (train(data="{place}/binary.txt"), "binary.txt, line 1: a NUL byte"),
    "missing path": (train(data="{place}/missing.txt"), "missing.txt: no such file"),
    "unknown flag": (train("--wrokdir=x"), "--wrokdir is no flag; did you mean 'workdir'"),
    "no flag at all": (train("extra"), "'extra' is no flag"),
    "missing workdir": (["train", "--config=configs/gpt.py:tiny"], "--workdir= is missing"),
    "workdir is a file": (train(run="empty.txt"), "empty.txt"),
    "resume: flipped bit": (train(*SAME, run="flipped"), "flipped/checkpoints is whole"),
    "resume: another width": (train("--config.model.width=64", run="good"),
        "config.model.width: 32 in the run, 64 now"),
    "resume: other text": (train(run="good", data="{place}/empty.txt"), "config.data.path"),
    "resume: tokenizer": (train(*SAME, run="tokenizer"), "tokenizer/tokenizer"),
    "resume: cut config": (train(run="config"), "config/config.json is damaged"),
    "resume: empty config": (train(run="emptied"),
        "emptied/config.json is damaged: config.model.name is missing"),
    "resume: another seed in the config": (train(*SAME, "--config.seed=1", run="seed"),
        "seed/config.json is not as it was written; restore it from a copy"),
    "resume: no config": (train(*SAME, run="configless"),
        "configless has checkpoints but no config.json"),
    "resume: record": (train(*SAME, run="record"), "record/run.json is not as it was written"),
    "resume: no record": (train(*SAME, run="recordless"), "recordless/run.json is missing"),
    "resume: record of other text": (train(*SAME, run="foreign_text"),
        "foreign_text was trained on other text than text.txt"),
    "resume: tokenizer of another run": (train(*SAME, run="foreign_tokenizer"),
        "foreign_tokenizer/tokenizer is not the tokenizer that the run was trained with"),
    "resume: checkpoints of another model": (train(*SAME, "--config.model.width=48", run="foreign"),
        "is of another model"),
    "resume: checkpoints that are files": (train(*SAME, run="file"), "no checkpoint in"),
    "resume: renamed checkpoint": (train(*SAME, run="renamed"), "renamed/checkpoints/9 holds step 3"),
    "from_run: another seed in the config": (["train", "--from_run={place}/seed", "--workdir={place}/none"],
        "seed/config.json is not as it was written"),
    "from_run: no record": (["train", "--from_run={place}/recordless", "--workdir={place}/none"],
        "recordless/run.json is missing"),
    "resume: misspelt config": (train(run="strange"),
        "config.model.widht does not exist; did you mean 'width'"),
    "generate: flipped bit": (["generate", "--run={place}/flipped"], "flipped/checkpoints is whole"),
    "generate: missing run": (["generate", "--run={place}/godo"], "godo is no run folder; did you mean 'good'"),
    "generate: no run": (["generate"], "--run= is missing"),
    "generate: tokenizer": (["generate", "--run={place}/tokenizer"], "tokenizer/tokenizer"),
    "generate: cut config": (["generate", "--run={place}/config"], "config/config.json is damaged"),
    "generate: another seed in the config": (["generate", "--run={place}/seed"],
        "seed/config.json is not as it was written"),
    "generate: record": (["generate", "--run={place}/record"], "record/run.json is not as it was written"),
    "generate: tokenizer of another run": (["generate", "--run={place}/foreign_tokenizer"],
        "foreign_tokenizer/tokenizer is not the tokenizer"),
    "generate: checkpoints that are files": (["generate", "--run={place}/file"], "no checkpoint in"),
    "evaluate: no record": (["evaluate", "--run={place}/recordless"], "recordless/run.json is missing"),
    "generate: misfit": (["generate", "--run={place}/misfit"],
        "misfit/config.json does not fit its checkpoints"),
    "generate: step": (["generate", "--run={place}/good", "--step=5"],
        "no checkpoint of step 5; there are [3, 6]"),
    "generate: temperature": (["generate", "--run={place}/good", "--temperature=999999"],
        "temperature=999999.0"),
    "generate: top_p": (["generate", "--run={place}/good", "--top_p=-1"], "top_p=-1.0"),
    "generate: seed": (["generate", "--run={place}/good", f"--seed={10 ** 30}"], "seed=1000"),
    "evaluate: flipped bit": (["evaluate", "--run={place}/flipped"], "flipped/checkpoints is whole"),
    "evaluate: missing run": (["evaluate", "--run={place}/missing"], "missing is no run folder"),
    "evaluate: missing path": (["evaluate", "--run={place}/good", "--path={place}/missing.txt"],
        "missing.txt: no such file"),
    "evaluate: empty file": (["evaluate", "--run={place}/good", "--path={place}/empty.txt"],
        "empty.txt: the file is empty"),
    "evaluate: binary file": (["evaluate", "--run={place}/good", "--path={place}/binary.txt"],
        "binary.txt, line 1"),
    "evaluate: split": (["evaluate", "--run={place}/good", "--split=tset"], "no split 'tset'"),
    "evaluate: task without such data": (["evaluate", "--run={place}/good", "--task=multiple_choice"],
        "good was trained on other data than the choices examples that this task is measured on"),
    "evaluate: task without a head": (["evaluate", "--run={place}/good", "--task=tagging"],
        "this model has no head for a task"),
    "evaluate: beams of a score": (["evaluate", "--run={place}/good", "--beams=4"],
        "--beams=4 changes nothing in what is measured here"),
    "evaluate: beams of choices": (["evaluate", "--run={place}/good", "--task=multiple_choice", "--length_penalty=2"],
        "--length_penalty=2.0 changes nothing"),
    "generate: length penalty": (["generate", "--run={place}/good", "--length_penalty=0.5"],
        "length_penalty=0.5 has no meaning without beams"),
    "evaluate: batch": (["evaluate", "--run={place}/good", "--batch=0"], "--batch=0 must be at least 1"),
}


def words(flags, place):
    """The command of a row."""
    return [word.replace("{place}", str(place)).replace("{tiny}", str(tiny())) for word in flags]


def refused(done, message, seconds=10):
    """Asserts that a command ended as a mistake should."""
    assert done.code not in (0, -9) and done.seconds < seconds
    assert done.err.startswith("error: ") and done.err.count("\n") == 1 and done.err.endswith("\n"), done.err
    assert message in done.err and "Traceback" not in done.err + done.out and not done.out


@pytest.mark.parametrize("row", ROWS)
def test_one_line_and_nothing_written(place, row):
    flags, message = ROWS[row]
    before = snapshot(place)
    refused(quick(*words(flags, place)), message)
    assert snapshot(place) == before


@pytest.mark.parametrize("row", ["misspelt key", "mesh", "empty file", "generate: flipped bit"])
def test_in_a_process_of_its_own(place, row):
    flags, message = ROWS[row]
    refused(command(*words(flags, place)), message, seconds=20)


def test_a_prompt_that_the_tokenizer_does_not_know(tmp_path):
    shutil.copytree(tiny() / "run", tmp_path / "run")
    run.save_tokenizer(letters(), tmp_path / "run")
    rewrite(tmp_path / "run", *((folder / "run" / "tokenizer" / "sha256").read_text().strip()
                                for folder in (tiny(), tmp_path)), ["run.json"])
    before = snapshot(tmp_path)
    refused(quick("generate", f"--run={tmp_path / 'run'}", "--prompt=the Ж"),
            "holds 'Ж', which the run's tokenizer (chars)")
    assert snapshot(tmp_path) == before
