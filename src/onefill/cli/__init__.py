"""The command line: thin commands over service and engine."""
