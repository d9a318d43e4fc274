"""The nouns: frozen values that are stored, signed and read back."""
