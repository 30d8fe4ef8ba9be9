"""Prepare the bytes of an XML file for a parser: recode to UTF-8 and remove characters that are invalid in XML."""

import codecs
import re
from typing import Protocol

CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r"))
NONCHARACTER = re.compile(rb"\xef\xbf[\xbe\xbf]|\xed[\xa0-\xbf][\x80-\xbf]")  # U+FFFE, U+FFFF and halves of a pair
REFERENCE = re.compile(rb"&#(?:x([0-9A-Fa-f]+)|([0-9]+));")
WIDE = {  # the first bytes of XML in the encodings of two or four bytes per character
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"<\0\0\0": "utf-32-le",
    b"\0\0\0<": "utf-32-be",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}


class Readable(Protocol):
    """A binary stream; ``read`` returns b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


class Recoded:
    """An XML file as a stream in UTF-8, also if the file is in UTF-16 or UTF-32.

    Attributes
    ----------
    encoding
        Encoding of the file if it is one of these, else None: the XML declaration applies.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._head = file.read(4)
        self.encoding = next((encoding for mark, encoding in WIDE.items() if self._head.startswith(mark)), None)
        self._decoder = codecs.getincrementaldecoder(self.encoding)("replace") if self.encoding else None

    def read(self, size: int) -> bytes:
        block, self._head = self._head + self._file.read(size), b""
        return self._decoder.decode(block).encode() if self._decoder else block


def remove_forbidden(xml: bytes) -> tuple[bytes, int]:
    """Remove characters that are invalid in XML, and references to them, from XML in UTF-8.

    Returns
    -------
    xml
        The remaining bytes.
    count
        Number of removed characters and references.
    """
    count = len(xml)
    xml = xml.translate(None, CONTROLS)
    count -= len(xml)
    xml, raw = NONCHARACTER.subn(b"", xml)
    allowed = REFERENCE.sub(lambda match: match[0] if _is_allowed(match) else b"", xml)
    return allowed, count + raw + xml.count(b"&#") - allowed.count(b"&#")


def _is_allowed(reference: re.Match[bytes]) -> bool:
    digits, base = (reference[1], 16) if reference[1] else (reference[2], 10)
    code = int(digits.lstrip(b"0")[:8] or b"0", base)  # eight digits are beyond Unicode in either base
    return code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code <= 0x10FFFF
