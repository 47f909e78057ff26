"""The river: one call from its key to its settlement. Read `endpoint.py` first; it calls the phases in order."""
