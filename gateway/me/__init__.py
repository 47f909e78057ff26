"""The key holder's own view: what was used, what is left, whose key it is."""
