"""`generate` prints what `lmlab.generate` returns."""

import subprocess
import sys

import pytest

import lmlab
from commands import REPOSITORY, environment, quick, tiny


def generate(*flags):
    done = quick("generate", f"--run={tiny() / 'run'}", "--max_new_tokens=20", *flags)
    assert done.code == 0 and not done.err, done.err
    return done.out


def test_one_prompt_streams_the_text():
    lm = lmlab.load(tiny() / "run")
    assert generate("--prompt=the 春", "--temperature=0") == "the 春" + lmlab.generate(
        lm, "the 春", max_new_tokens=20, temperature=0) + "\n"


def test_settings_arrive():
    lm = lmlab.load(tiny() / "run")
    settings = dict(temperature=1.3, top_k=30, top_p=0.9, min_p=0.01, repetition_penalty=1.2, seed=7)
    assert generate("--prompt=a", *(f"--{k}={v}" for k, v in settings.items())) == "a" + lmlab.generate(
        lm, "a", max_new_tokens=20, **settings) + "\n"
    assert generate("--prompt=a", "--seed=1") != generate("--prompt=a", "--seed=2")


def test_beams():
    lm = lmlab.load(tiny() / "run")
    settings = dict(beams=3, length_penalty=0.5)
    assert generate("--prompt=the", "--beams=3", "--length_penalty=0.5") == "the" + lmlab.generate(
        lm, "the", max_new_tokens=20, **settings) + "\n"
    done = quick("generate", f"--run={tiny() / 'run'}", "--beams=2", "--top_k=3")
    assert done.code == 1 and done.err.startswith("error: top_k=3 has no meaning with beams=2")


def test_several_prompts_and_escapes():
    lm = lmlab.load(tiny() / "run")
    prompts = ["a\tb\\n\n", "of"]
    texts = lmlab.generate(lm, prompts, max_new_tokens=20, temperature=0)
    assert generate(r"--prompt=a\tb\\n\n", "--prompt=of", "--temperature=0") == "\n---\n".join(
        p + t for p, t in zip(prompts, texts)) + "\n"


def test_stop_and_nothing_to_do():
    whole = generate("--prompt=", "--temperature=0")[:-1]
    cut = whole[:whole.index(whole[2])]
    assert generate("--prompt=", "--temperature=0", f"--stop={whole[2]}", "--stop=never") == cut + "\n"
    assert generate("--prompt=the", "--max_new_tokens=0") == "the\n"


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback():
    """As in `generate ... | head -c 1`."""
    done = subprocess.run(["bash", "-c", 'set -o pipefail; "$@" | head -c 1', "-", sys.executable, "-m",
                           "experiments.generate", f"--run={tiny() / 'run'}", "--max_new_tokens=3000"],
                          cwd=REPOSITORY, env=environment(1), capture_output=True)
    assert len(done.stdout) == 1 and not done.stderr


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """A run of two steps on a table of questions and answers, and what `train` said at its end."""
    workdir = tmp_path_factory.mktemp("chat") / "run"
    done = quick("train", "--config=configs/chat.py:tiny,train.steps=2,train.batch=8,evals.samples=0",
                 "--config.optimizer.warmup=1",
                 f"--workdir={workdir}", "--config.data.source=files",
                 f"--config.data.path={REPOSITORY / 'examples' / 'chat.csv'}")
    assert done.code == 0, done.err
    return workdir, done.out


def test_a_chat_has_what_was_said_before_in_mind(chat):
    """As the conversational pipeline makes it, asked again with its own answer."""
    workdir, told = chat
    assert told.endswith(f"more     ./run.sh generate --chat --run={workdir}\n")
    pipe, messages = lmlab.pipeline("conversational", str(workdir)), []
    for words in ("Hello.", "Who are you?"):
        messages = pipe([*messages, {"role": "user", "content": words}], max_new_tokens=8, temperature=0)
    done = quick("generate", f"--run={workdir}", "--chat", "--prompt=Hello.", "--prompt=Who are you?",
                 "--max_new_tokens=8", "--temperature=0")
    assert done.code == 0, done.err
    assert [line.strip() for line in done.out.splitlines()] == [messages[1]["content"], messages[3]["content"]]
