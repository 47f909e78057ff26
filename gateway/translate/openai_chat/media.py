"""Images, sound and files of a message: bytes in base64, or a URL. Nothing is fetched here."""

import msgspec

from gateway.core.errors import InvalidRequest
from gateway.translate.openai_chat.messages import AudioPart, FilePart, ImagePart

_TYPES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/plain", "csv": "text/plain"}
_SAME = {"image/jpg": "image/jpeg", "application/x-pdf": "application/pdf"}
PLAIN_DETAILS = (None, "auto")


class Media(msgspec.Struct, frozen=True):
    """Something other than text: either `data`, in base64, or a `url`. `param` is where it stands in the body."""

    kind: str
    param: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    name: str | None = None
    ends_cached: bool = False


def image(part: ImagePart, param: str, *, ends_cached: bool) -> Media:
    """Return an image. Raises InvalidRequest for a URL that is neither data nor http(s)."""
    url = part.image_url.url
    if url.startswith("data:"):
        media_type, data = _unpacked(url, f"{param}.image_url.url")
        return Media("image", param, media_type, data, ends_cached=ends_cached)
    if url.startswith(("http://", "https://")):
        return Media("image", param, url=url, ends_cached=ends_cached)
    raise InvalidRequest(
        f"`{param}.image_url.url` must be a data URL with base64 in it, or an http(s) URL.",
        param=f"{param}.image_url.url",
    )


def audio(part: AudioPart, param: str) -> Media:
    """Return sound."""
    return Media("audio", param, f"audio/{part.input_audio.format}", part.input_audio.data)


def file(part: FilePart, param: str, *, ends_cached: bool) -> Media:
    """Return a file. Raises InvalidRequest for one that lies at OpenAI, and for one that is of no known type."""
    given = part.file
    if given.file_data is None or given.file_id is not None:
        raise InvalidRequest(
            f"`{param}.file` must have `file_data` and no `file_id`: no other provider can read what was uploaded "
            "to OpenAI.",
            param=f"{param}.file",
        )
    if given.file_data.startswith("data:"):
        media_type, data = _unpacked(given.file_data, f"{param}.file.file_data")
    else:
        media_type, data = _TYPES.get((given.filename or "").rpartition(".")[2].lower(), ""), given.file_data
    if not media_type:
        raise InvalidRequest(
            f"`{param}.file.file_data` must be a data URL that says its type, as `data:application/pdf;base64,...`.",
            param=f"{param}.file.file_data",
        )
    return Media("file", param, media_type, data, name=given.filename, ends_cached=ends_cached)


def _unpacked(url: str, param: str) -> tuple[str, str]:
    """Return the type and the base64 of a data URL."""
    head, comma, data = url.partition(",")
    media_type, *parameters = head.removeprefix("data:").lower().split(";")
    if not comma or "base64" not in parameters or "/" not in media_type:
        raise InvalidRequest(f"`{param}` must be a data URL with its type and base64 in it.", param=param)
    return _SAME.get(media_type, media_type), data
