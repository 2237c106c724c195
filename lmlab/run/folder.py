"""What a run folder holds beside its checkpoints: config, tokenizer, record, summary."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from lmlab import config as configs
from lmlab.data import tokenizers
from lmlab.run.building import check, complete
from lmlab.train import checkpoint
from lmlab.utils import environment, sealed
from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes, write_text


def has_begun(folder) -> bool:
    """Whether a folder holds a run to go on with; a UserError where it holds checkpoints of who knows what."""
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return True
    if checkpoint.good_steps(folder / "checkpoints"):
        raise UserError(f"{folder} has checkpoints but no config.json, so that nothing tells what they are of; restore "
                        "it from a copy, or use a new --workdir")
    return False


def load_config(folder) -> ConfigDict:
    """The config of a run folder, fields that are newer than the run at their defaults.

    Raises:
      UserError: where config.json is missing, damaged, or not of the run that run.json tells of.
    """
    path = Path(folder) / "config.json"
    config = configs.load(path)
    try:
        config = complete(config.to_dict(), {})
        check(config)
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    noted = read_record(folder).get("config")
    if noted and (other := configs.another(complete(noted, {}), config)):
        raise UserError(f"{path} is not of the run that run.json beside it tells of (config.{other[0]} differs); "
                        "restore the two from a copy")
    return config


def save_tokenizer(tokenizer, folder):
    """Writes the tokenizer into the run, with its digest."""
    tokenizer.save(Path(folder) / "tokenizer")
    write_text(Path(folder) / "tokenizer" / "sha256", tokenizers.digest(tokenizer) + "\n")


def save_start(folder, config, data, resuming, teacher=""):
    """Writes what a run has before its first step, by process 0: config.json last, so that where it is, the rest is.
    teacher: the digest of what it learns from beside the data."""
    if jax.process_index() == 0:
        if not resuming:
            save_tokenizer(data.tokenizer, folder)
            if data.labels is not None:
                sealed.write(Path(folder) / "labels.json", {"labels": list(data.labels)})
        save_record(folder, config, data, {"teacher": teacher} if teacher else {})
        configs.save(config, Path(folder) / "config.json")


def load_tokenizer(folder):
    """The run's tokenizer; a UserError where its files are not those that were saved: only those are read."""
    folder = Path(folder) / "tokenizer"
    try:
        noted = read_bytes(folder / "sha256").decode("utf-8").strip()
        found = tokenizers.digest_of(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: the tokenizer is missing or damaged ({error}); restore it from a copy") from error
    if not found == noted == read_record(folder.parent).get("tokenizer", noted):
        raise UserError(f"{folder} is not the tokenizer that the run was trained with (its sha256 differs); restore "
                        "it from a copy")
    return tokenizers.load(folder)


def load_labels(folder) -> tuple | None:
    """The labels that the outputs of a run's head are of; None where it has no head."""
    try:
        return tuple(sealed.read(Path(folder) / "labels.json")["labels"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def save_record(folder, config, data, more):
    """Writes run.json: the machine, the code, what belongs to the run and `more`, and the sessions before this one.

    To be written after the tokenizer, and before config.json: where that is, the rest is.
    """
    sealed.write(Path(folder) / "run.json", environment.describe() | {
        "config": config.to_dict(), "text": describe_text(data), "earlier_sessions": read_sessions(folder),
        "tokenizer": tokenizers.digest_of(Path(folder) / "tokenizer"),
        **({"synonyms": data.synonyms} if data.synonyms else {}), **more})


def read_record(folder) -> dict:
    """run.json of a run; {} where there is none, a UserError where it is not as it was written."""
    try:
        return sealed.read(Path(folder) / "run.json")
    except (FileNotFoundError, NotADirectoryError):
        return {}


def read_sessions(folder) -> list[dict]:
    """What run.json says of the sessions of a run so far, the oldest first."""
    newest = read_record(folder)
    return [*newest.pop("earlier_sessions", []), newest] if newest else []


def describe_text(data) -> dict:
    """What run.json says of the text: its name and the fingerprint of its content and splits."""
    return {"name": data.corpus.name, "fingerprint": data.corpus.fingerprint}


def check_text(folder, data):
    """Raises a UserError where a run was trained on other text than `data` holds, under whatever name, or with other
    synonyms; folder: "" for no run."""
    if not folder:
        return
    noted = read_record(folder)
    if not noted:
        raise UserError(f"{folder}/run.json is missing, so that nothing tells whether {data.corpus.name} is the text "
                        "that the run was trained on; restore it from a copy")
    if noted.get("text") != describe_text(data):
        raise UserError(f"{folder} was trained on other text than {data.corpus.name} holds now (or other splits of "
                        "it); restore the text, or use a new --workdir")
    if data.synonyms and noted.get("synonyms", data.synonyms) != data.synonyms:  # runs of old noted none
        raise UserError(f"{folder} was trained with other synonyms than the file of config.objective.synonyms holds "
                        "now; restore it, or use a new --workdir")


def read_summary(folder) -> dict:
    """summary.json of a run; {} before its first session ended, or where it is not as it was written."""
    try:
        return sealed.read(Path(folder) / "summary.json")
    except (FileNotFoundError, NotADirectoryError, UserError):
        return {}


def restore(folder, step, target):
    """The state of a run at a step, laid out as `target`; a UserError where the checkpoint is of something else."""
    state = checkpoint.restore(Path(folder) / "checkpoints", step, target)
    if int(state["step"]) != step:
        raise UserError(f"{folder}/checkpoints/{step} holds step {int(state['step'])}, so somebody has copied or "
                        f"renamed it; remove it, or name it {int(state['step'])} again")
    return state
