"""Restoring damaged bytes: what most likely stood there, and how sure that is. The data given is never changed."""
