"""What is checked of a pack without computing on its observations, one module a subject."""
