"""Who is in a topic."""
