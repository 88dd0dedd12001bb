"""Models made of models: grown, shrunk, packed."""
