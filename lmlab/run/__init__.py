"""A config and its run folder: the one place below experiments/ that makes data, tokenizer, model, parameters of them.

    runs/x/  config.json run.json summary.json metrics.jsonl tokenizer/ labels.json checkpoints/STEP/ events.* plots/
             samples/
"""

# ruff: noqa: F401
from lmlab.run.batches import Data, eval_batches, padding, prepare, train_batches
from lmlab.run.building import (
    build_model, build_objective, build_optimizer, check, complete, from_presets, initialiser, predicts, reads,
    sections, targets, task, trains, unit)
from lmlab.run.ensembles import Ensemble, together
from lmlab.run.folder import (
    check_text, describe_text, has_begun, load_config, load_labels, load_tokenizer, read_record,
    read_sessions, read_summary, restore, save_record, save_start, save_tokenizer)
from lmlab.run.loading import LM, begin_from, given, load, start_of
from lmlab.run.teaching import begin, beside, digest, shallow, taught
