"""One address in front of models: requests by name, each answered by its own adapter."""
