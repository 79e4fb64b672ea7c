"""Seeds sealed to two parties outside (docs/formats/escrow.md): HPKE, layers, and the file between the two.

HPKE is RFC 9180 in base mode, single shot, and only its opening. Keys are read from PKCS #8 (RFC 5958; RFC 8410 for
X25519, RFC 5915 for P-256). What opens a seed holds a secret: nothing here takes constant time or clears memory.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import aes
import canonical
import chance
import p256
import x25519

TAG = "countroom/escrow/v1"
RECIPIENTS_LEAST, RECIPIENTS_MOST, CONTENT_MOST = 2, 8, 1024
X25519_INFO = bytes.fromhex("302a300506032b656e032100")  # SubjectPublicKeyInfo up to the key


class NotEscrow(ValueError):
    """Bytes that are no escrowed seed or no key, or a key whose turn it is not: nobody's fault but the caller's."""


class NotCommitted(Exception):
    """A layer that its recipient's key does not open, or a secret that is not the one committed to: evidence."""


# Keys


@dataclass(frozen=True)
class Key:
    """A recipient's private key."""

    kem: int
    id: str
    public: bytes  # as HPKE serializes it
    exchange: Callable[[bytes], bytes | None]  # with the sender's ephemeral key


def _der(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The contents of the DER element that data begins with, and what is behind it."""
    if len(data) < 2 or data[0] != tag:
        raise NotEscrow(f"key: no DER element {tag:#x}")
    size, at = data[1], 2
    if size >= 0x80:
        at += size & 0x7F
        size = int.from_bytes(data[2:at], "big")
    if len(data) < at + size:
        raise NotEscrow("key: DER that is cut off")
    return data[at : at + size], data[at + size :]


def read_key(text: bytes) -> Key:
    """A private key, X25519 or P-256: PKCS #8 in PEM."""
    match = re.fullmatch(rb"\s*-----BEGIN PRIVATE KEY-----\n([A-Za-z0-9+/=\n]+)-----END PRIVATE KEY-----\s*", text)
    if match is None:
        raise NotEscrow("key: no one PEM block PRIVATE KEY")
    try:
        der = base64.b64decode(match[1].replace(b"\n", b""), validate=True)
    except binascii.Error as err:
        raise NotEscrow("key: no base64") from err
    body, _ = _der(der, 0x30)
    version, body = _der(body, 0x02)
    algorithm, body = _der(body, 0x30)
    inside, _ = _der(body, 0x04)
    if version not in (b"\0", b"\1"):
        raise NotEscrow("key: no PKCS #8")
    if algorithm == X25519_INFO[4:9]:
        private, _ = _der(inside, 0x04)
        return _x25519(private)
    if algorithm == p256.KEY_PREFIX[4:23]:
        inside, _ = _der(inside, 0x30)
        _, inside = _der(inside, 0x02)
        private, _ = _der(inside, 0x04)
        return _p256(int.from_bytes(private, "big"))
    raise NotEscrow("key: neither X25519 nor P-256")


def _x25519(private: bytes) -> Key:
    if len(private) != 32:
        raise NotEscrow("key: not 32 bytes")

    def exchange(theirs: bytes) -> bytes | None:
        shared = x25519.multiply(private, theirs)
        return shared if any(shared) else None  # RFC 9180, section 7.1.4

    public = x25519.multiply(private, x25519.BASE)
    return Key(0x0020, hashlib.sha256(X25519_INFO + public).hexdigest(), public, exchange)


def _p256(private: int) -> Key:
    if not 0 < private < p256.N:
        raise NotEscrow("key: no private key of P-256")

    def exchange(theirs: bytes) -> bytes | None:
        point = p256.key(p256.KEY_PREFIX + theirs[1:]) if theirs[:1] == b"\4" else None
        shared = p256.multiple(private, point) if point is not None else None
        return shared[0].to_bytes(32, "big") if shared is not None else None

    x, y = p256.multiple(private, p256.BASE)
    public = b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    return Key(0x0010, hashlib.sha256(p256.KEY_PREFIX + public[1:]).hexdigest(), public, exchange)


# HPKE


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    """LabeledExpand of at most 32 bytes: one block of HKDF."""
    info = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, info + b"\x01", "sha256")[:size]


def open_hpke(key: Key, info: bytes, sealed: bytes) -> bytes | None:
    """SingleShotOpen in base mode (RFC 9180, sections 4.1, 5.1 and 6.1) with HKDF-SHA256 and AES-256-GCM."""
    enc, ciphertext = sealed[: len(key.public)], sealed[len(key.public) :]
    if len(enc) < len(key.public) or (shared := key.exchange(enc)) is None:
        return None
    kem = b"KEM" + key.kem.to_bytes(2, "big")
    shared = _expand(kem, _extract(kem, b"", b"eae_prk", shared), b"shared_secret", enc + key.public, 32)
    suite = b"HPKE" + key.kem.to_bytes(2, "big") + b"\0\1\0\2"
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    return aes.open_gcm(_expand(suite, secret, b"key", context, 32), _expand(suite, secret, b"base_nonce", context, 12), ciphertext)


# Boxes

_MEMBERS = canonical.members(
    {
        "commitment": canonical.hexadecimal(32),
        "content": canonical.hexadecimal_most(CONTENT_MOST),
        "epoch": canonical.integer,
        "layers": canonical.integer,
        "origin": canonical.text(255),
        "recipients": canonical.items(canonical.text(128), 0, RECIPIENTS_MOST),
        "tag": lambda value: value == TAG,
    }
)


@dataclass(frozen=True)
class Box:
    """An escrowed secret on its way from the log to whoever opens it."""

    origin: str
    epoch: int
    commitment: bytes
    recipients: tuple[str, ...]  # key ids, inner first
    layers: int  # that are still on
    content: bytes  # S ‖ salt when none is

    def __post_init__(self) -> None:
        count = len(self.recipients)
        if not RECIPIENTS_LEAST <= count <= RECIPIENTS_MOST or self.layers > count:
            raise NotEscrow(f"{self.layers} layers for {count} recipients")

    @staticmethod
    def read(line: bytes) -> "Box":
        """What a holder before left in a file."""
        value = canonical.read(line.removesuffix(b"\n"))
        if not _MEMBERS(value):
            raise NotEscrow("no escrowed seed")
        commitment, content = bytes.fromhex(value["commitment"]), bytes.fromhex(value["content"])
        return Box(value["origin"], value["epoch"], commitment, tuple(value["recipients"]), value["layers"], content)

    @staticmethod
    def of(origin: str, entry: dict) -> "Box | None":
        """What a seed.committed.v2 escrows, with all its layers on."""
        if "escrow" not in entry:
            return None
        recipients, sealed = tuple(entry["escrow"]["recipients"]), bytes.fromhex(entry["escrow"]["sealed"])
        return Box(origin, entry["epoch"], bytes.fromhex(entry["commitment"]), recipients, len(recipients), sealed)

    def write(self) -> bytes:
        value = {
            "commitment": self.commitment.hex(),
            "content": self.content.hex(),
            "epoch": self.epoch,
            "layers": self.layers,
            "origin": self.origin,
            "recipients": list(self.recipients),
            "tag": TAG,
        }
        return canonical.write(value) + b"\n"

    def take(self, key: Key) -> "Box":
        """Takes the outermost layer off. Raises NotEscrow and NotCommitted."""
        if self.layers == 0:
            raise NotEscrow("no layer is left")
        if self.recipients[self.layers - 1] != key.id:
            raise NotEscrow(f"not the turn of key {key.id}: next is {self.recipients[self.layers - 1]}")
        numbers = canonical.integer64(self.epoch), self.commitment, canonical.integer64(self.layers)
        ids = (recipient.encode() for recipient in self.recipients)
        content = open_hpke(key, canonical.frame(TAG.encode(), self.origin.encode(), *numbers, *ids), self.content)
        if content is None:
            raise NotCommitted(f"epoch {self.epoch}: layer {self.layers} does not open with key {key.id}")
        return replace(self, layers=self.layers - 1, content=content)

    def secret(self) -> tuple[bytes, bytes]:
        """S and salt, when no layer is left. Raises NotEscrow and NotCommitted."""
        if self.layers:
            raise NotEscrow(f"{self.layers} layers are left")
        secret, salt = self.content[:32], self.content[32:]
        if len(salt) != 32 or chance.commitment(self.origin, self.epoch, secret, salt) != self.commitment:
            raise NotCommitted(f"epoch {self.epoch}: not the secret that was committed to")
        return secret, salt
