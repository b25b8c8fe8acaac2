"""The subscribers in one loop, and what is published to them."""
