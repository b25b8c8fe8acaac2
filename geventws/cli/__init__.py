"""The command line: `python -m geventws serve` and `connect`."""
