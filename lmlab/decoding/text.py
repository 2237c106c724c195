"""Text in, text out: prompts to token ids, and new ids to text that streams whole characters."""

import itertools
from numbers import Integral

import numpy as np

from lmlab.data import chat
from lmlab.data.cleaning import valid_unicode
from lmlab.data.features import sequences
from lmlab.decoding import beam, sampling
from lmlab.decoding.cached import around, continuations
from lmlab.utils.errors import UserError

UNFINISHED = "�"  # how tokenizers decode bytes that are no whole character (yet)
RANGES = {"max_new_tokens": (0, 2 ** 31), "seed": (0, 2 ** 32 - 1), "beams": (1, 1000), "length_penalty": (-10, 10)}


def generate(lm, prompts, *, max_new_tokens=100, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0,
             repetition_penalty=1.0, beams=1, length_penalty=1.0, stop=(), seed=0, on_text=None):
    """Continues each prompt, or answers it where the model is an encoder-decoder; a row's text does not depend on the
    rows beside it, its draws only on (seed, row).

    Args:
      lm: what lmlab.load gives. prompts: a string ("" begins a new document) or a list of token ids, which are taken
        as they are; or a list of such prompts.
      max_new_tokens: the most tokens to make. temperature .. repetition_penalty: see sampling.Sampler.
      beams: above 1 nothing is drawn, and the text is the most likely that so many beams find (beam.search), whatever
        the temperature and the seed. length_penalty: of the beams; above 0 favours longer texts.
      stop: a string or strings that end a text; they are left out of it.
      seed: of the draws. on_text: called with (row, new text) as it comes (with beams: at the end), never with half a
        character.
    Returns:
      The new text without the prompt: a string for one prompt, else a list.
    Raises:
      UserError: for a value outside its range, an encoder, a prompt that the tokenizer or the model cannot read.
    """
    sampler = sampling.Sampler(temperature, top_k, top_p, min_p, repetition_penalty)
    _check(lm, sampler, max_new_tokens=max_new_tokens, seed=seed, beams=beams, length_penalty=length_penalty)
    rows = prompts if isinstance(prompts, str) else list(prompts)
    one = isinstance(rows, str) or _are_ids(rows)
    rows = [rows] if one else rows
    if not rows:
        return []
    stops = tuple(s for s in ([stop] if isinstance(stop, str) else stop) if s)
    streams = [TextStream(lm.tokenizer, stops) for _ in rows]
    ids = [_ids(lm, row, number) for number, row in enumerate(rows, 1)]
    eod, ends = lm.tokenizer.eod, _ends(lm)
    common = dict(count=max_new_tokens, eod=eod, start=sequences.start_of(lm.tokenizer))
    if beams > 1:
        found = beam.search(lm.model, lm.params, ids, beams=beams, length_penalty=length_penalty, **common)
        steps = itertools.zip_longest(*(hypothesis.tokens for hypothesis in found), fillvalue=eod)
    else:
        steps = continuations(lm.model, lm.params, ids, sampler, seed=seed, **common)
    for tokens in steps:
        for row, (stream, token) in enumerate(zip(streams, tokens, strict=True)):
            _tell(on_text, row, stream.end() if token in ends else stream.push(int(token)))
        if all(stream.ended for stream in streams):
            break
    for row, stream in enumerate(streams):
        _tell(on_text, row, stream.end())
    texts = [stream.text for stream in streams]
    return texts[0] if one else texts


def _ends(lm):
    """The tokens that end a text: eod, the end of a turn in a chat, and whatever else a model from elsewhere says."""
    said = ((lm.config or {}).get("extras") or {}).get("generation") or {}
    eos = said.get("eos", ())
    return {lm.tokenizer.eod, *chat.ends(lm.tokenizer), *([eos] if isinstance(eos, int) else eos)}


def _check(lm, sampler, **values):
    """Raises a UserError for a value outside its range, and for a model that makes no text."""
    if lm.labels is not None:
        raise UserError(f"this model has a head for config.objective.name={lm.config.objective.name} and makes no "
                        "text; use one that was trained to write")
    if lm.model.spec.attends == "full":
        raise UserError('an encoder makes no text; use lmlab.pipeline("feature-extraction", ...) for what it makes of '
                        'one')
    sampling.check(sampler)
    for name, value in values.items():
        low, high = RANGES[name]
        kind, what = ((int, float), "a number") if name == "length_penalty" else (int, "a whole number")
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            raise UserError(f"{name}={value!r} must be {what} between {low} and {high}")
    if values["beams"] > 1:
        for name, off in sampling.Sampler()._asdict().items():
            if name != "temperature" and getattr(sampler, name) != off:
                raise UserError(f"{name}={getattr(sampler, name)} has no meaning with beams={values['beams']}, which "
                                f"draw nothing; leave one of them out")
    elif values["length_penalty"] != 1:
        raise UserError(f"length_penalty={values['length_penalty']} has no meaning without beams; set beams above 1, "
                        "or leave it out")


def _are_ids(prompt):
    """Whether a prompt is a list of token ids, with at least one."""
    return isinstance(prompt, (list, tuple, np.ndarray)) and len(prompt) > 0 and all(
        isinstance(i, Integral) and not isinstance(i, bool) for i in prompt)


def _ids(lm, prompt, number):
    """What the model reads of a prompt: text with what stands before it (in an encoder: around it), ids as they are."""
    spec, tokenizer = lm.model.spec, lm.tokenizer
    if not isinstance(prompt, str):
        if not _are_ids(prompt):
            raise UserError(f"prompt {number} must be text or a list of token ids, with at least one")
        wrong = next((i for i in prompt if not 0 <= i < spec.vocab_size), None)
        if wrong is not None:
            raise UserError(f"prompt {number} holds the id {wrong}; the model has ids from 0 to {spec.vocab_size - 1}")
        return [int(i) for i in prompt]
    before, after = around(spec, tokenizer)
    ids = [i for i in (before, *_encode(tokenizer, prompt), after) if i >= 0]
    if not ids:
        raise UserError(f"prompt {number} is empty, and the tokenizer has no token that begins a text; write something")
    return ids


def _encode(tokenizer, text):
    """The ids of a prompt; a UserError names a character that the tokenizer does not know."""
    text = valid_unicode(text)
    ids = tokenizer.encode(text)
    if UNFINISHED in tokenizer.decode(ids) and UNFINISHED not in text:
        unknown = next((c for c in text if UNFINISHED in tokenizer.decode(tokenizer.encode(c))), UNFINISHED)
        raise UserError(f"the prompt holds {unknown!r}, which the run's tokenizer ({tokenizer.kind}) does not know; "
                        "leave it out, or use a run with another tokenizer")
    return ids


def _tell(on_text, row, piece):
    if on_text and piece:
        on_text(row, piece)


class TextStream:
    """Turns the tokens of one row into text: holds back half characters and what may be the start of a stop string."""

    def __init__(self, tokenizer, stops=()):
        self.text, self.ended = "", False
        self._tokenizer, self._stops = tokenizer, stops
        self._ids, self._held = [], ""
        self._context, self._read = 0, 0  # ids[context:read] are out already, and give the next ids their context

    def push(self, token) -> str:
        """Adds a token; returns the text that is now certain."""
        if self.ended:
            return ""
        self._ids.append(token)
        old = self._tokenizer.decode(self._ids[self._context:self._read])
        new = self._tokenizer.decode(self._ids[self._context:])
        if new.endswith(UNFINISHED):
            return ""
        self._context, self._read = self._read, len(self._ids)
        self._held += new[len(old):]
        return self._release()

    def _release(self):
        # The stop that is whole first ends the text, so that it does not hang on how the text came in pieces.
        found = [(i + len(s), i) for i, s in ((self._held.find(s), s) for s in self._stops) if i >= 0]
        if found:
            self._held, self.ended = self._held[:min(found)[1]], True
            keep = 0
        else:
            keep = max((n for s in self._stops for n in range(1, len(s)) if self._held.endswith(s[:n])), default=0)
        out, self._held = self._held[:len(self._held) - keep], self._held[len(self._held) - keep:]
        self.text += out
        return out

    def end(self) -> str:
        """No more tokens: returns what was held back."""
        if self.ended:
            return ""
        old = self._tokenizer.decode(self._ids[self._context:self._read])
        self._held += self._tokenizer.decode(self._ids[self._context:])[len(old):]
        out = self._release()
        if not self.ended:
            self.ended, out = True, out + self._held
            self.text += self._held
        return out
