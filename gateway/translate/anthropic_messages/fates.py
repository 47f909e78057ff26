"""What becomes of the fields of Anthropic's messages that no other provider has a word for."""

from gateway.translate.fates import Fates, dropped, refused

ELSEWHERE: Fates = {
    "container": refused("there is no container to run code in; one with an id is 404"),
    "mcp_servers": refused("the provider asks no MCP servers; let your client ask them", []),
    "inference_geo": refused("where the model runs cannot be chosen", "global"),
    "compaction": refused("the provider sums no conversations up"),
    "context_management": dropped("the provider edits no conversations"),
    "fallbacks": dropped("no other model answers instead", []),
    "fallback_credit_token": dropped(),
    "speed": dropped("", "standard"),
    "diagnostics": dropped(),
    "user_profile_id": dropped(),
    "billing_policy": dropped(),
}  # fmt: skip
