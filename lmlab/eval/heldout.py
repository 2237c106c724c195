"""The examples that a task is measured on, and those that its baselines learn from."""

from lmlab import run
from lmlab.data import corpus
from lmlab.utils.errors import UserError


def examples(lm, folders, reads=None, *, path="", field="", split="validation",
             learns=False) -> tuple[list[dict], list[dict]]:
    """(train, held): what baselines learn from (nothing, where the model's own data are of another kind) and what is
    scored.

    Args:
      lm: the model. folders: of its runs; none for a model from elsewhere. reads: the kind of examples; None: what
        the model learned from. path: files, or catalog:NAME; "": a split of the runs' own data. field: as
        config.data.field; "": as in training. split: of the runs' own data; where the model `learns` in the
        prompt, of what path names, as config.data would split it.
    Raises:
      UserError: where the runs have no such examples, or were trained on other text than their data hold now.
    """
    own = run.reads(lm.config)
    reads = reads or own
    if reads != own:
        if not path:
            raise UserError(f"{folders[0]} was trained on other data than the {reads} examples that this task is "
                            "measured on; name such with --path=")
        if learns:
            built = corpus.build(*corpus.source_of(path), field=field or "text", reads=reads)
            return list(built.examples("train")), list(built.examples(split))
        return [], list(corpus.whole(path, field or "text", reads=reads).examples("all"))
    data = run.prepare(lm.config, lm.tokenizer, lm.labels) if folders else None
    if path:
        held = corpus.whole(path, field or lm.config.data.field, reads=reads).examples("all")
    else:
        for folder in folders:  # on other text or splits it may have seen what it is measured on
            run.check_text(folder, data)
        held = data.corpus.examples(split)
    labelled = data is not None and data.corpus.kind != "text"
    return list(data.corpus.examples("train")) if labelled else [], list(held)
