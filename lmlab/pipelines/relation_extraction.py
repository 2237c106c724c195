"""Relations between the entities of a text: {"head", "tail", "relation", "score"}. transformers has no such pipeline;
the shape is ours."""

from lmlab.decoding import headed
from lmlab.decoding.relations import relations
from lmlab.utils.errors import UserError

_LABELS = ("label", "entity_group")  # what may say of what kind an entity is


def make(lm):
    """The call: text= and entities=, or dicts of the two, one or a list: a list of dicts for one, a list of such lists
    for several.

    entities: dicts with "start" and "end", in characters of the text, and "label"; what token-classification gives of a
    text with aggregation_strategy="simple" will do. head and tail are places in entities, from 0; pairs whose likeliest
    relation is none are left out. score: the relation's probability.
    """
    def call(inputs=None, *, text=None, entities=None):
        headed.check(lm, "relations")
        if inputs is None:
            inputs = {"text": text, "entities": entities}
        asked = [_asked(one) for one in ([inputs] if isinstance(inputs, dict) else inputs)]
        out = [[{"head": one["head"], "tail": one["tail"], "relation": one["label"], "score": one["score"]}
                for one in found] for found in relations(lm, asked)]
        return out[0] if isinstance(inputs, dict) else out
    return call


def _asked(given) -> tuple[str, list[dict]]:
    """(text, spans) of what a caller gives; UserError where it is none."""
    text, entities = (given.get(name) if isinstance(given, dict) else None for name in ("text", "entities"))
    if not isinstance(text, str) or not isinstance(entities, list):
        raise UserError(f'{str(given)[:80]!r} is no text with entities; give {{"text": "...", "entities": [{{"start": '
                        '0, "end": 3, "label": "PER"}, ...]}')
    return text, [_span(entity, f"entities[{number}] of {text[:40]!r}", len(text))
                  for number, entity in enumerate(entities)]


def _span(entity, what, length) -> dict:
    """An entity as a span of a text of so many characters."""
    found = entity if isinstance(entity, dict) else {}
    start, end = found.get("start"), found.get("end")
    label = next((found[name] for name in _LABELS if name in found), None)
    placed = type(start) is type(end) is int and 0 <= start < end <= length
    if not placed or not isinstance(label, str) or not label.strip():
        raise UserError(f"{what} must have a start and an end in its {length} characters, and a label; it is "
                        f"{str(entity)[:80]}")
    return {"start": start, "end": end, "label": label.strip()}
