"""What became of the paths of an earlier gateway that called claude.ai and Bard with a person's own web session.

They are not copied: a web session is no key, it can't be shared, limited or charged. Who still calls them is told where
the same is served now.
"""

from collections.abc import Mapping

CLAUDE_CHAT = "/claude/v1/chat/completions"
GOOGLE_CHAT = "/google/v1/chat/completions"
_CLAUDE = f"POST {CLAUDE_CHAT} with an API key of this gateway, or /claude/v1/messages"
_GEMINI = f"POST {GOOGLE_CHAT} with an API key of this gateway, or /google/v1beta/models/MODEL:generateContent"
_HISTORY = f"{_CLAUDE}, and send the whole conversation with each call: none is kept here"

OLD_PATHS: Mapping[str, str] = {
    "/claude/append_message": _CLAUDE,
    "/claude/retry_message": _CLAUDE,
    "/claude/organizations/{organization}/chat_conversations": _HISTORY,
    "/claude/organizations/{organization}/chat_conversations/{conversation}": _HISTORY,
    "/claude/{organization}/v1/chat/completions": _CLAUDE,
    "/claude/{organization}/{conversation}/v1/chat/completions": _CLAUDE,
    "/google/bard": _GEMINI,
    "/credit_grants": "GET /openai/billing/credit_grants with an API key of this gateway",
}
"""Path -> what serves it now. Every method of each answers 410."""
