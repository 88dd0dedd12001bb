"""A read-only page about one server process, for people; agents read the same facts through tools and resources."""
