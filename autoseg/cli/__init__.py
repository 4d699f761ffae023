"""One console command per file: parse, call the API, print. Heavy packages are imported after the arguments are checked.

Each command has `parser()`, from which docs/reference/commands.md is made, and `main(argv)`, which returns the exit status.
"""
