"""The way of the data: sources, cleaning, tokenizers, token store, windows, batches."""
