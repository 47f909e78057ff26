"""`/v1/vector_stores`: files made searchable. Storing and searching cost money that no answer tells of."""

from gateway.core.call import WireFormat
from gateway.dialects.objects import ObjectCall, ObjectList, Takes, read_named

_STORE = "/vector_stores/{vector_store_id}"
_FILE = f"{_STORE}/files/{{file_id}}"
_BATCH = f"{_STORE}/file_batches/{{batch_id}}"
_OF_STORE = ("vector_store_id",)
_OF_FILE = ("vector_store_id", "file_id")
_OF_BATCH = ("vector_store_id", "batch_id")
RETRIEVE = ObjectCall("vector_stores.retrieve", "GET", _STORE, _OF_STORE)
_CALLS = (
    ObjectCall(
        "vector_stores.create",
        "POST",
        "/vector_stores",
        takes=Takes.JSON,
        makes="vector_stores",
        costs=True,
        read=read_named,
    ),
    RETRIEVE,
    ObjectCall("vector_stores.update", "POST", _STORE, _OF_STORE, Takes.JSON, costs=True),  # it can be kept for longer
    ObjectCall("vector_stores.delete", "DELETE", _STORE, _OF_STORE, forgets=True),
    ObjectCall("vector_stores.search", "POST", f"{_STORE}/search", _OF_STORE, Takes.JSON, costs=True),
    ObjectCall("vector_stores.files.create", "POST", f"{_STORE}/files", _OF_STORE, Takes.JSON, costs=True),
    ObjectCall("vector_stores.files.list", "GET", f"{_STORE}/files", _OF_STORE),
    ObjectCall("vector_stores.files.retrieve", "GET", _FILE, _OF_FILE),
    ObjectCall("vector_stores.files.update", "POST", _FILE, _OF_FILE, Takes.JSON),
    ObjectCall("vector_stores.files.delete", "DELETE", _FILE, _OF_FILE),
    ObjectCall("vector_stores.files.content", "GET", f"{_FILE}/content", _OF_FILE),
    ObjectCall(
        "vector_stores.file_batches.create",
        "POST",
        f"{_STORE}/file_batches",
        _OF_STORE,
        Takes.JSON,
        makes="vector_store_file_batches",
        costs=True,
        read=read_named,
    ),
    ObjectCall("vector_stores.file_batches.retrieve", "GET", _BATCH, _OF_BATCH),
    ObjectCall("vector_stores.file_batches.cancel", "POST", f"{_BATCH}/cancel", _OF_BATCH),
    ObjectCall("vector_stores.file_batches.files", "GET", f"{_BATCH}/files", _OF_BATCH),
)
ROUTES: tuple[tuple[str, WireFormat], ...] = (
    ("/v1/vector_stores", ObjectList("vector_stores.list", "vector_stores")),
    *((f"/v1{call.template}", call) for call in _CALLS),
)
