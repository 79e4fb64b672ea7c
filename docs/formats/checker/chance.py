"""From a secret to the integers of a round (docs/formats/chance.md)."""

import hashlib
import hmac

from canonical import frame, integer64

_DRBG_NONCE = b"countroom/drbg/1"


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def commitment(origin: str, epoch: int, secret: bytes, salt: bytes) -> bytes:
    fields = frame(b"countroom/seed-commitment/v1", origin.encode(), integer64(epoch), secret, salt)
    return hashlib.sha256(fields).digest()


def nonce_commitment(origin: str, epoch: int, witness: str, nonce: bytes) -> bytes:
    fields = frame(b"countroom/nonce-commitment/v1", origin.encode(), integer64(epoch), witness.encode(), nonce)
    return hashlib.sha256(fields).digest()


def witness_external(origin: str, epoch: int, nonces: list[tuple[str, bytes]]) -> bytes:
    parts = [part for witness, nonce in nonces for part in (witness.encode(), nonce)]
    fields = frame(b"countroom/external-witness/v1", origin.encode(), integer64(epoch), *parts)
    return hashlib.sha256(fields).digest()


def beacon_external(origin: str, epoch: int, chain: bytes, n: int, signature: bytes) -> bytes:
    fields = frame(b"countroom/external-beacon/v1", origin.encode(), integer64(epoch), chain, integer64(n), signature)
    return hashlib.sha256(fields).digest()


def epoch_key(secret: bytes, committed: bytes, external: bytes) -> bytes:
    """K: HKDF-SHA256 (RFC 5869) with one block of output."""
    return _hmac(_hmac(committed + external, secret), b"countroom/epoch-key/v1\x01")


def draw(
    key: bytes, origin: str, game: str, version: str, player: bytes, n: int, step: int, nonce: bytes = b""
) -> bytes:
    """r: what K gives to round n of a player at a game."""
    names = origin.encode(), game.encode(), version.encode()
    return _hmac(key, frame(b"countroom/draw/v1", *names, player, integer64(n), integer64(step), nonce))


class Words:
    """The words of 32 bits into which HMAC_DRBG (SP 800-90A Rev. 1, 10.1.2) expands r."""

    def __init__(self, r: bytes) -> None:
        self._key, self._v = bytes(32), b"\x01" * 32
        self._update(b"\x00" + r + _DRBG_NONCE)
        self._update(b"\x01" + r + _DRBG_NONCE)
        self._block = b""

    def _update(self, data: bytes) -> None:
        self._key = _hmac(self._key, self._v + data)
        self._v = _hmac(self._key, self._v)

    def word(self) -> int:
        if not self._block:
            self._block = self._v = _hmac(self._key, self._v)
            self._update(b"\x00")
        word, self._block = self._block[:4], self._block[4:]
        return int.from_bytes(word, "big")

    def integer(self, m: int) -> int:
        """An unbiased integer in [0, m), by rejection."""
        limit = 2**32 // m * m
        while (word := self.word()) >= limit:
            pass
        return word % m
