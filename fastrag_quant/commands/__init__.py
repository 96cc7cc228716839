"""The command line: what parses arguments, and what starts a command where it should run."""
