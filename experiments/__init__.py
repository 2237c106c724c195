"""The verbs: one absl program a file, only wiring."""
