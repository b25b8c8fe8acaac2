"""Receiving for every socket of a loop that is ready, into the inboxes of its connections."""
