"""Modules that run code written for other systems on geventws: each has the public names of one system.

Such code changes only its import lines. docs/migrating-from-*.rst says for each system what is different, and why.
"""
