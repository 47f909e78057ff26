"""OpenAI's Administration API: one file per noun, each with its routes; `boundary` is what all of them pass."""
