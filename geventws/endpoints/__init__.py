"""The doors of a server: a function, callbacks, a key of the environ."""
