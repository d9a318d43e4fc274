"""Test sets: reading, checking and splitting them."""
