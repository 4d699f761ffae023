"""One console command a file: parse, call the API, print. Nothing heavy is imported before the arguments are right."""
