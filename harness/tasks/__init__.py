"""What is asked: task files and their prompts."""
