"""Turns an assessment into a report a person can read: a view model, HTML and PDF."""
