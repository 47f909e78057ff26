"""Calls of one dialect asked of a provider of another: one pure file for each pair, both directions of it."""
