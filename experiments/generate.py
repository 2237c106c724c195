"""Continues a prompt with a trained model (an encoder-decoder answers it), streaming to the terminal.

    ./run.sh generate --run=runs/x --prompt="ROMEO:" --max_new_tokens=200 --temperature=0.8
    ./run.sh generate --run=runs/chat --chat
"""

import sys

from absl import flags

from lmlab.utils import cli, environment

RUN = flags.DEFINE_string("run", None, "A run folder, a Hugging Face folder, a .gguf file, or catalog:NAME.",
                          required=True)
PROMPT = flags.DEFINE_multi_string("prompt", [""], "What to continue (again for more rows); empty: a new document. "
                                   r"Escapes such as \n are understood.")
CHAT = flags.DEFINE_bool("chat", False, "Talk: each --prompt is what the user says next; without any, lines of the "
                         "terminal, until an empty one.")
STEP = flags.DEFINE_string("step", "newest", "Which checkpoint: newest, best, or its number.")
MAX_NEW_TOKENS = flags.DEFINE_integer("max_new_tokens", 200, "The most tokens to make.")
TEMPERATURE = flags.DEFINE_float("temperature", 0.8, "0: the most likely text; 1: the model's own distribution.")
TOP_K = flags.DEFINE_integer("top_k", 0, "Draw among the k most likely tokens; 0: all.")
TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw among the fewest tokens that hold this probability; 1: all.")
MIN_P = flags.DEFINE_float("min_p", 0.0, "Draw among tokens at least so likely, relative to the first; 0: all.")
PENALTY = flags.DEFINE_float("repetition_penalty", 1.0, "Above 1: tokens seen before become less likely.")
BEAMS = flags.DEFINE_integer("beams", 1, "Above 1: draw nothing, look for the most likely text along so many "
                             "beginnings at once (the temperature and the seed are of no matter then).")
LENGTH_PENALTY = flags.DEFINE_float("length_penalty", 1.0, "Of beams, whose texts score log p / tokens ^ "
                                    "length_penalty: above 0 favours longer texts, below 0 shorter ones.")
STOP = flags.DEFINE_multi_string("stop", [], "A string that ends the text (again for more).")
SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")


def main():
    """Loads the run and prints prompt and continuation, row by row."""
    import lmlab
    environment.set_up_jax()
    lm = lmlab.load(RUN.value, STEP.value)
    prompts = [_unescape(p) for p in PROMPT.value]
    show = lambda text: print(text.encode("utf-8", "replace").decode("utf-8"), end="", flush=True)
    settings = dict(max_new_tokens=MAX_NEW_TOKENS.value, temperature=TEMPERATURE.value, top_k=TOP_K.value,
                    top_p=TOP_P.value, min_p=MIN_P.value, repetition_penalty=PENALTY.value, beams=BEAMS.value,
                    length_penalty=LENGTH_PENALTY.value, seed=SEED.value, stop=[_unescape(s) for s in STOP.value])
    if CHAT.value:
        return _talk(lm, iter(prompts) if any(prompts) else _lines(), show, settings)
    live = len(prompts) == 1
    shown = [""] * len(prompts) if lm.model.spec.encoder_layers else prompts  # an answer stands alone
    first = iter(shown if live else [])  # shown with the first new text, when all is known to be in order
    heard = lambda _, text: show(next(first, "") + text)
    texts = lmlab.generate(lm, prompts, on_text=heard if live else None, **settings)
    show(next(first, ""))
    if not live:
        show("\n---\n".join(prompt + text for prompt, text in zip(shown, texts, strict=True)))
    show("\n")


def _talk(lm, said, show, settings):
    """A conversation: each of `said` is answered, with what came before in mind, as the answer is made."""
    import lmlab
    from lmlab.data.chat import encode_chat
    messages = []
    for words in said:
        messages.append({"role": "user", "content": words})
        answer = lmlab.generate(lm, encode_chat(lm.tokenizer, messages), on_text=lambda _, text: show(text), **settings)
        messages.append({"role": "assistant", "content": answer.strip()})
        show("\n")


def _lines():
    """What is typed, a line at a time, until an empty one or the end."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", flush=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


def _unescape(text):
    r"""\n, \t and \\ as in Python; all else as it is."""
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")


if __name__ == "__main__":
    cli.run(main)
