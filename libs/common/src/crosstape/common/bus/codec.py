"""Wire codec: values to bytes and back. One version byte, then MessagePack arrays.

Compatibility rule: a struct only ever gains fields, at its end, with a default. A reader skips those that it does not
know. Where that would be to misread the record VERSION goes up by one: a reader of version n+1 reads what version n
wrote, and refuses (UnknownVersion) what a newer writer sent, which a consumer puts into the dead letters rather than
guess.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

VERSION = 1

Record = TypeVar("Record")


class UndecodableRecord(ValueError):
    """The bytes are no record of this topic."""


class UnknownVersion(UndecodableRecord):
    """The record was written by a newer version than this reader knows."""


class Codec(Generic[Record]):
    """Encodes and decodes the records of one topic."""

    def __init__(self, record_type: Any, version: int = VERSION):
        self._version = version
        self._prefix = bytes([version])
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(record_type)

    def encode(self, record: Record) -> bytes:
        """`record` as bytes."""
        return self._prefix + self._encoder.encode(record)

    def decode(self, data: bytes) -> Record:
        """The record in `data`. Raises UnknownVersion, UndecodableRecord."""
        if not data:
            raise UndecodableRecord("empty record")
        if not 1 <= data[0] <= self._version:
            raise UnknownVersion(f"record version {data[0]}, this reader knows 1 to {self._version}")
        try:
            return self._decoder.decode(memoryview(data)[1:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UndecodableRecord(str(error)) from error
