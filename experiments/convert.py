"""Writes a trained model as a Hugging Face folder, which transformers loads.

    ./run.sh convert --run=runs/x --to_hf=exported

The model may also be anything else that lmlab.load reads: a Hugging Face folder, a .gguf file, catalog:NAME.
"""

import dataclasses
from pathlib import Path

from absl import flags

from lmlab.utils import cli, environment
from lmlab.utils.errors import UserError

RUN = flags.DEFINE_string("run", None, "A run folder, a Hugging Face folder, a .gguf file, or catalog:NAME.",
                          required=True)
STEP = flags.DEFINE_integer("step", -1, "Which checkpoint of a run; -1: the newest.")
TO_HF = flags.DEFINE_string("to_hf", None, "The folder to write; it must not exist, or be empty.", required=True)


def main():
    """Loads the model, writes the folder whole or not at all, and says how to load it."""
    import lmlab
    from lmlab import interop
    from lmlab.utils.files import new_folder
    from lmlab.utils.trees import count

    environment.set_up_jax()
    target = Path(TO_HF.value)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--to_hf={target} is there already; name a new folder, or empty it")
    lm = lmlab.load(RUN.value, STEP.value)
    spec = lm.model.spec
    with new_folder(target) as folder:
        kwargs = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
        architecture = interop.save(folder, kwargs, lm.params, lm.tokenizer)
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*"))
                 if path.is_file()}
    print(f"{target}: {architecture}, {count(lm.params):,} parameters")
    for name, size in sizes.items():
        print(f"  {name:<24}{size:>16,} bytes")
    print(f"load it:  transformers.{architecture}.from_pretrained({str(target)!r})\n"
          f"      or  lmlab.load({str(target)!r})")


if __name__ == "__main__":
    cli.run(main)
