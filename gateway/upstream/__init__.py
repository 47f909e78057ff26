"""The way to the providers: connections, their answers, their model lists, and a provider of our own for trials."""
