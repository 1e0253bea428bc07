"""The sections of the report: each a function from a study to a ``Section``."""
