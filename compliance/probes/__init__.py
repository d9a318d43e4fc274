"""Runs a plan over models and SAEs: the only package, beside the monitor, that needs torch."""
