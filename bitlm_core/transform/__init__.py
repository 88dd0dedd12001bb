"""Model to model: what makes another model of one, and leaves that one as it was. Model files know nothing of it."""
