"""Writes a trained model as a Hugging Face folder, which transformers loads, or its adapters as PEFT reads them.

    ./run.sh convert --run=runs/x --to_hf=exported
    ./run.sh convert --run=runs/x --to_peft=adapter

The model may also be anything else that lmlab.load reads: a Hugging Face folder, a .gguf file, catalog:NAME.
"""

import dataclasses
from pathlib import Path

from absl import flags

from lmlab.utils import cli, environment
from lmlab.utils.errors import UserError

RUN = flags.DEFINE_string("run", None, "A run folder, a Hugging Face folder, a .gguf file, or catalog:NAME.",
                          required=True)
STEP = flags.DEFINE_string("step", "newest", "Which checkpoint of a run: newest, best, or its number.")
TO_HF = flags.DEFINE_string("to_hf", "", "The folder to write, adapters merged; it must not exist, or be empty.")
TO_PEFT = flags.DEFINE_string("to_peft", "", "The same for the adapters alone.")


def main():
    """Loads the model, writes the folder whole or not at all, and says how to load it."""
    import lmlab
    from lmlab import interop
    from lmlab.adapt import lora
    from lmlab.interop import peft
    from lmlab.utils.files import new_folder
    from lmlab.utils.trees import count

    environment.set_up_jax()
    if bool(TO_HF.value) == bool(TO_PEFT.value):
        raise UserError("name one folder to write: --to_hf= or --to_peft=")
    target = Path(TO_HF.value or TO_PEFT.value)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is there already; name a new folder, or empty it")
    lm = lmlab.load(RUN.value, STEP.value)
    spec = lm.model.spec
    if lm.labels is not None:
        raise UserError(f"{RUN.value} has a head for a task, which has no place in Hugging Face's format here; use it "
                        "with lmlab.load")
    if TO_PEFT.value:
        with new_folder(target) as folder:
            peft.save(folder, spec, lora.extract(lm.params), lm.config.init_from)
        return print(f"{target}: adapters\nload them:  lmlab.load({lm.config.init_from!r}, adapter={str(target)!r})")
    with new_folder(target) as folder:
        kwargs = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
        merged = lora.merge(lm.params)
        architecture = interop.save(folder, kwargs, merged, lm.tokenizer)
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*"))
                 if path.is_file()}
    print(f"{target}: {architecture}, {count(merged):,} parameters")
    for name, size in sizes.items():
        print(f"  {name:<24}{size:>16,} bytes")
    print(f"load it:  transformers.{architecture}.from_pretrained({str(target)!r})\n"
          f"      or  lmlab.load({str(target)!r})")


if __name__ == "__main__":
    cli.run(main)
