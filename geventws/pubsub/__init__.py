"""Rooms: messages to many connections, which wait for none of them."""
