"""The program under attack, in its own process: __main__ serves or connects, with what handlers and forking do."""
