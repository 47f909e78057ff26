"""OpenAI's side of every translation of chat completions: what a request says, and how an answer is said."""
