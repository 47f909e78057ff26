"""`/v1/conversations`: what responses go on from. Keeping them costs nothing; the responses pay for what they read."""

from gateway.dialects.objects import ObjectCall, Takes, read_named

_ONE = "/conversations/{conversation_id}"
_ITEM = f"{_ONE}/items/{{item_id}}"
_OF_ONE = ("conversation_id",)
_CALLS = (
    ObjectCall(
        "conversations.create", "POST", "/conversations", takes=Takes.JSON, makes="conversations", read=read_named
    ),
    ObjectCall("conversations.retrieve", "GET", _ONE, _OF_ONE),
    ObjectCall("conversations.update", "POST", _ONE, _OF_ONE, Takes.JSON),
    ObjectCall("conversations.delete", "DELETE", _ONE, _OF_ONE, forgets=True),
    ObjectCall("conversations.items.create", "POST", f"{_ONE}/items", _OF_ONE, Takes.JSON),
    ObjectCall("conversations.items.list", "GET", f"{_ONE}/items", _OF_ONE),
    ObjectCall("conversations.items.retrieve", "GET", _ITEM, _OF_ONE),
    ObjectCall("conversations.items.delete", "DELETE", _ITEM, _OF_ONE),
)
ROUTES: tuple[tuple[str, ObjectCall], ...] = tuple((f"/v1{call.template}", call) for call in _CALLS)
