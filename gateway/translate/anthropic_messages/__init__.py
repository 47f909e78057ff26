"""Anthropic's side of every translation of messages: what a request says, and how an answer is said."""
