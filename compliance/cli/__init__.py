"""The command line: parses, calls one function, prints. Nothing else prints or exits."""
