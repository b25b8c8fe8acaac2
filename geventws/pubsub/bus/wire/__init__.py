"""Bytes: the protocol of Redis, messages as they travel, and what Redis does with those that are kept. No I/O."""
