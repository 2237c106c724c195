"""Small tools with no idea of language models: errors, files, trees, logs, plots, the command line."""
