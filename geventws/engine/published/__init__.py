"""What others send to a connection, which waits for none of them."""
