"""Checkpoints on a hub of models: pushed as repositories of safetensors and JSON, pulled back and checked. No torch in here."""
