"""A real base model with an adapter for each task: what LoRA Land shows with a 7B model, on two CPU cores."""
