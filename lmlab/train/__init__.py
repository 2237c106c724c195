"""Training: the loop, the step, sharding, optimizers, checkpoints. Knows no tokenizer, evaluator or config file."""
