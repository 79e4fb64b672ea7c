"""Rounds of a public beacon in drand's format (docs/formats/chance.md, external entropy)."""

import hashlib

import bls12381

SIGNATURE_SIZE = 48
TAG = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
SECOND = 1_000_000


class Chain:
    """A chain as a seed.committed.v2 describes it. Times are microseconds since 1970."""

    def __init__(self, told: dict) -> None:
        """Raises ValueError for what describes no chain."""
        self.genesis, self.period = told["genesis"], told["period"]
        if self.period == 0:
            raise ValueError("a period of 0 s")
        public = bytes.fromhex(told["public"])
        self._public = bls12381.decode2(public)
        parts = self.period.to_bytes(4, "big") + self.genesis.to_bytes(8, "big") + public + bytes.fromhex(told["group"])
        name = b"" if told["id"] == "default" else told["id"].encode()
        self.hash = hashlib.sha256(parts + name).digest()

    def at(self, n: int) -> int:
        """When a round is published."""
        return (self.genesis + (n - 1) * self.period) * SECOND

    def after(self, time: int) -> int:
        """The first round that is published later."""
        since = time // SECOND - self.genesis
        return 1 if since < 0 else since // self.period + 2

    def verify(self, n: int, signature: bytes) -> bool:
        message = hashlib.sha256(n.to_bytes(8, "big")).digest()
        return bls12381.verify(self._public, message, signature, TAG)
