"""What is recorded: `results/` on disk."""
