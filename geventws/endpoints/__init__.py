"""The endpoints of a server: a function, callbacks, or a key of the environ."""
