"""What others send to a connection, without waiting for it."""
