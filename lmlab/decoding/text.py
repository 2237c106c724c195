"""Text in, text out: prompts to token ids, and new ids to text that streams whole characters."""

from lmlab.data.cleaning import valid_unicode
from lmlab.decoding import sampling
from lmlab.decoding.cached import continuations
from lmlab.utils.errors import UserError

UNFINISHED = "�"  # how tokenizers decode bytes that are no whole character (yet)


def generate(lm, prompts, *, max_new_tokens=100, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0,
             repetition_penalty=1.0, stop=(), seed=0, on_text=None):
    """Continues each prompt; a row's text does not depend on the rows beside it, its draws only on (seed, row).

    Args:
      lm: what lmlab.load gives. prompts: a string, or a list of them; "" begins a new document.
      max_new_tokens: the most tokens to make. temperature .. repetition_penalty: see sampling.Sampler.
      stop: a string or strings that end a text; they are left out of it.
      seed: of the draws. on_text: called with (row, new text) as it comes, never with half a character.
    Returns:
      The new text without the prompt: a string for a string, else a list.
    Raises:
      UserError: for a value outside its range.
    """
    rows = [prompts] if isinstance(prompts, str) else list(prompts)
    sampler = sampling.Sampler(temperature, top_k, top_p, min_p, repetition_penalty)
    sampling.check(sampler)
    for name, value, low, high in (("max_new_tokens", max_new_tokens, 0, 2 ** 31), ("seed", seed, 0, 2 ** 32 - 1)):
        if not isinstance(value, int) or not low <= value <= high:
            raise UserError(f"{name}={value!r} must be a whole number between {low} and {high}")
    if not rows:
        return []
    stops = tuple(s for s in ([stop] if isinstance(stop, str) else stop) if s)
    streams = [TextStream(lm.tokenizer, stops) for _ in rows]
    eod = lm.tokenizer.eod
    ids = [[eod, *_encode(lm.tokenizer, row)] for row in rows]
    for tokens_B in continuations(lm.model, lm.params, ids, sampler, count=max_new_tokens, seed=seed, eod=eod):
        for row, (stream, token) in enumerate(zip(streams, tokens_B.tolist(), strict=True)):
            _tell(on_text, row, stream.end() if token == eod else stream.push(token))
        if all(stream.ended for stream in streams):
            break
    for row, stream in enumerate(streams):
        _tell(on_text, row, stream.end())
    texts = [stream.text for stream in streams]
    return texts[0] if isinstance(prompts, str) else texts


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
