"""Code written for other systems, run on geventws: one thin module for each system, with that system's public names.

Only import lines change. What is different, and why, stands on that system's page in docs/migrating-from-*.rst.
"""
