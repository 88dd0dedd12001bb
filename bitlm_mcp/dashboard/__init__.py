"""A page for people: it shows the state of one server process and acts on it; agents read the same facts through tools."""
