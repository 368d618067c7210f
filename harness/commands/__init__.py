"""One file for each command. Nothing heavy is imported before the command runs."""
