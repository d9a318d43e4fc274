"""Does the method err as declared? Simulations whose right answer is known."""
