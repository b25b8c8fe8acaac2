"""What knows WSGI servers: where each keeps its socket, and what it has read ahead."""
