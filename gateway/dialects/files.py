"""`/v1/files` and `/v1/uploads`: files, sent whole or in parts. Keeping them costs nothing."""

import msgspec

from gateway.core.call import NOTHING, Reading, WireFormat
from gateway.dialects.objects import ObjectCall, ObjectList, Takes, read_named


class File(msgspec.Struct, gc=False):
    """A file object."""

    id: str | None = None


class Upload(msgspec.Struct, gc=False):
    """An upload object; completed, it has the file that came of it."""

    file: msgspec.Raw = msgspec.Raw()


_files = msgspec.json.Decoder(File)
_uploads = msgspec.json.Decoder(Upload)


def read_file(body: bytes) -> Reading:
    """Read which file was made, and how it looks: it never changes."""
    try:
        return Reading(object_id=_files.decode(body).id, shown=body)
    except (msgspec.MsgspecError, RecursionError):
        return NOTHING


def read_completed(body: bytes) -> Reading:
    """Read the file that came of an upload."""
    try:
        return read_file(bytes(_uploads.decode(body).file))
    except (msgspec.MsgspecError, RecursionError):
        return NOTHING


_FILE, _UPLOAD = "/files/{file_id}", "/uploads/{upload_id}"
LIST = ObjectList("files.list", "files", most=10_000, default=10_000)
RETRIEVE = ObjectCall("files.retrieve", "GET", _FILE, ("file_id",))
CONTENT = ObjectCall("files.content", "GET", f"{_FILE}/content", ("file_id",))
ROUTES: tuple[tuple[str, WireFormat], ...] = (
    ("/v1/files", ObjectCall("files.create", "POST", "/files", takes=Takes.FORM, makes="files", read=read_file)),
    ("/v1/files", LIST),
    ("/v1/files/{file_id}", RETRIEVE),
    ("/v1/files/{file_id}", ObjectCall("files.delete", "DELETE", _FILE, ("file_id",), forgets=True)),
    ("/v1/files/{file_id}/content", CONTENT),
    (
        "/v1/uploads",
        ObjectCall("uploads.create", "POST", "/uploads", takes=Takes.JSON, makes="uploads", read=read_named),
    ),
    (
        "/v1/uploads/{upload_id}/parts",
        ObjectCall(
            "uploads.parts.create",
            "POST",
            f"{_UPLOAD}/parts",
            ("upload_id",),
            Takes.FORM,
            makes="upload_parts",
            read=read_named,
        ),
    ),
    (
        "/v1/uploads/{upload_id}/complete",
        ObjectCall(
            "uploads.complete",
            "POST",
            f"{_UPLOAD}/complete",
            ("upload_id",),
            Takes.JSON,
            makes="files",
            read=read_completed,
        ),
    ),
    (
        "/v1/uploads/{upload_id}/cancel",
        ObjectCall("uploads.cancel", "POST", f"{_UPLOAD}/cancel", ("upload_id",)),
    ),
)
