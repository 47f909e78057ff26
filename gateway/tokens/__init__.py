"""Counting tokens without a provider: vocabularies, the prompt formulas, image sizes. The only home of tiktoken.

The rest of the gateway uses `counter.TokenCounter` and `prompts.PromptCount`; everything else here serves those two.
"""
