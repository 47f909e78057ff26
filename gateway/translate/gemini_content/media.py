"""What Gemini is shown beside text, and what its functions returned."""

from urllib.parse import urlsplit

import msgspec

from gateway.core.errors import InvalidRequest
from gateway.translate.gemini_content.body import FileData, Part
from gateway.translate.objects import object_in

OWN_FILES_HOST = "generativelanguage.googleapis.com"
"""Files in Google's store belong to the one account that all callers share."""


def fetched(url: str, media_type: str, param: str, instead: str) -> Part:
    """Return a part that Google fetches. Raises InvalidRequest that says what to send `instead` of any other URL."""
    try:
        scheme, host, _, _, _ = urlsplit(url)
    except ValueError:
        raise InvalidRequest(f"`{param}` is not a URL.", param=param) from None
    if scheme != "https":
        raise InvalidRequest(
            f"`{param}`: the gateway fetches nothing and Google fetches https URLs only; send {instead}.", param=param
        )
    if OWN_FILES_HOST in host.lower():
        raise InvalidRequest(f"`{param}` names a file in Google's store; send {instead}.", param=param)
    return Part(file_data=FileData(url, media_type))


def returned(text: str) -> msgspec.Raw:
    """Return a result as the object that Gemini wants: itself if it is one, else with its text in it."""
    return object_in(text) or msgspec.Raw(msgspec.json.encode({"result": text}))
