"""Cut a long text into pieces of bounded size, where possible so that the sum of their counts is the whole's count.

All four encodings split a text by a pattern before they merge bytes, and no pattern looks back or reaches across these
places: between a letter and a digit (either way), between a letter or digit and the whitespace after it, and between a
single newline and a letter or digit. A cut there changes nothing. Where a piece has no such place near its end (a
million spaces, a million emoji) it is cut anyway; a cut through a token then adds about one.
"""

from collections.abc import Iterator

# About 8k tokens: 2 ms of work and a list of 64 KiB per piece; the worst inputs known (repeated emoji) take 15 ms.
PIECE_CHARACTERS = 32_768
# How far back from a piece's end an exact place is looked for: a few lines of anything written by a person.
_LOOK_BACK_CHARACTERS = 1_024
_SPACES = " \t\r\n"


def pieces(text: str, piece_characters: int = PIECE_CHARACTERS) -> Iterator[str]:
    """The text in order, in pieces of 1 to `piece_characters` characters; joined they are the text."""
    start = 0
    while len(text) - start > piece_characters:
        end = _cut_near(text, start, start + piece_characters)
        yield text[start:end]
        start = end
    yield text[start:]


def is_exact_cut(text: str, place: int) -> bool:
    """Whether cutting before `text[place]`, `place` >= 1, certainly leaves the token count unchanged."""
    left, right = text[place - 1], text[place]
    if left.isalpha():
        return right.isdecimal() or right in _SPACES
    if left.isdecimal():
        return right.isalpha() or right in _SPACES
    # Of several whitespace characters the oldest encodings keep the last one apart, so those are not cut after.
    return left == "\n" and (right.isalpha() or right.isdecimal()) and not text[place - 2 : place - 1].isspace()


def _cut_near(text: str, start: int, end: int) -> int:
    """The last exact place in the look-back before `end`, else `end`."""
    for place in range(end, max(start, end - _LOOK_BACK_CHARACTERS), -1):
        if is_exact_cut(text, place):
            return place
    return end
