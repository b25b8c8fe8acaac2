"""Sending frames to many descriptors."""
