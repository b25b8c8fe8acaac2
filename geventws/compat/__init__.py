"""Code written for other systems, run on geventws: one thin module for each system, with that system's public names.

Only import lines change. docs/migrating-from-*.rst has a page for each system that says what is different, and why.
"""
