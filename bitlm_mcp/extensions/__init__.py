"""Extensions of the protocol that clients may negotiate."""
