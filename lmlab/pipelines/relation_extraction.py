"""Relations between the entities of a text: {"head", "tail", "relation", "score"}. transformers has no such pipeline; the
shape is ours."""

from lmlab.decoding import headed
from lmlab.decoding.relations import relations
from lmlab.utils.errors import UserError

_LABELS = ("label", "entity_group", "entity")  # what may say of what kind an entity is


def make(lm):
    """The call: text= and entities=, or dicts of the two, one or a list: a list of dicts for one, a list of such lists for
    several.

    entities: dicts with "start" and "end", in characters of the text, and "label"; what token-classification gives of a
    text with aggregation_strategy="simple" will do. head and tail are places in entities, from 0; a pair that is told
    apart from no relation in no way is left out. score: the relation's probability.
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
    if not isinstance(given, dict) or set(given) != {"text", "entities"} or not isinstance(given["text"], str) or not (
            isinstance(given["entities"], list)):
        raise UserError(f'{str(given)[:80]!r} is no text with entities; give {{"text": "...", "entities": [{{"start": 0, '
                        '"end": 3, "label": "PER"}, ...]}')
    spans, length = [], len(given["text"])
    for number, entity in enumerate(given["entities"]):
        entity = entity if isinstance(entity, dict) else {}
        start, end, label = (*map(entity.get, ("start", "end")), next((entity[name] for name in _LABELS if name in entity), None))
        whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end))
        if not whole or not 0 <= start < end <= length or not isinstance(label, str) or not label.strip():
            raise UserError(f"entities[{number}] of {given['text'][:40]!r} must have a start and an end in its {length} "
                            f"characters, and a label; it is {str(given['entities'][number])[:80]}")
        spans.append({"start": start, "end": end, "label": label.strip()})
    return given["text"], spans
