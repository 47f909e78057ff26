"""An LLM gateway for a team: a key per person and service, exact limits, every call on a durable ledger."""
