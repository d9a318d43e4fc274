"""A planted backdoor and its clean twin: grammar, models, SAEs and their audits."""
