"""Fine-tuning: from a task's YAML to a LoRA adapter with a card that says how it was made."""
