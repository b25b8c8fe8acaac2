"""Presence: the members of topics, and their joining and leaving."""
