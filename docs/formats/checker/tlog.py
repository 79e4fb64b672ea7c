"""The published log (docs/formats/log.md): the tree of RFC 6962, tiles, checkpoints, receipts."""

import base64
import binascii
import hashlib
import http.client
import re
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ed25519

EMPTY_ROOT = hashlib.sha256(b"").digest()
TILE_WIDTH = 256
RECEIPT = "c2sp.org/tlog-proof@v1"


class Malformed(ValueError):
    """A file that is not in its format."""


class Unavailable(Exception):
    """A file that could not be had."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A Merkle tree that grows by one leaf at a time.

    levels[k] has the hashes of all full subtrees of 256^k leaves: those that tiles of level k publish.
    """

    def __init__(self) -> None:
        self.size = 0
        self.levels: list[list[bytes]] = []
        self._edge: list[bytes] = []  # roots of the full subtrees that make up the tree, greatest first

    def add(self, leaf: bytes) -> None:
        """Adds a leaf by its hash."""
        self.size += 1
        node, height = leaf, 0
        self._keep(node, height)
        while self.size >> height & 1 == 0:
            height += 1
            node = node_hash(self._edge.pop(), node)
            self._keep(node, height)
        self._edge.append(node)

    def _keep(self, node: bytes, height: int) -> None:
        level, between = divmod(height, 8)
        if between:
            return
        if level == len(self.levels):
            self.levels.append([])
        self.levels[level].append(node)

    def root(self) -> bytes:
        if not self._edge:
            return EMPTY_ROOT
        node = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            node = node_hash(left, node)
        return node


def root_of_proof(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root to which an inclusion proof leads (RFC 9162, section 2.1.3.2).

    None if it does not fit index and size.
    """
    if index >= size:
        return None
    fn, sn, node = index, size - 1, leaf
    for other in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            node = node_hash(other, node)
            while fn & 1 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, other)
        fn, sn = fn >> 1, sn >> 1
    return node if sn == 0 else None


# Signed notes


class NotSigned(Exception):
    """A note without a good signature by the key asked for."""


class Unnamed(NotSigned):
    """A note that has no line of the key's name."""


class Stranger(NotSigned):
    """A note that has no line of the key asked for, but one of its name: the log may lead to that key."""


def _base64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise Malformed(f"{what}: no base64") from err
    if base64.b64encode(data).decode() != text:
        raise Malformed(f"{what}: another spelling of base64")
    return data


def _hash(text: str, what: str) -> bytes:
    data = _base64(text, what)
    if len(data) != 32:
        raise Malformed(f"{what}: not 32 bytes")
    return data


def _decimal(text: str, what: str) -> int:
    if re.fullmatch(r"0|[1-9][0-9]{0,18}", text) is None:
        raise Malformed(f"{what}: no decimal number")
    return int(text)


@dataclass(frozen=True)
class VerifierKey:
    """The key by which a log is checked. Its name is the log's origin."""

    text: str
    name: str
    id: bytes
    public: bytes

    @staticmethod
    def parse(text: str) -> "VerifierKey":
        match = re.fullmatch(r"([^\s\x00-\x1f+]+)\+([0-9a-f]{8})\+(\S+)", text)
        if match is None:
            raise Malformed("verifier key: not <name>+<key id>+<key>")
        name, key = match[1], _base64(match[3], "verifier key")
        if len(key) != 33 or key[0] != 1:
            raise Malformed("verifier key: no Ed25519 key")
        key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
        if match[2] != key_id.hex():
            raise Malformed(f"verifier key: its id is {key_id.hex()}")
        return VerifierKey(text, name, key_id, key[1:])


@dataclass(frozen=True)
class WitnessKey:
    """The key of a witness outside the house."""

    name: str
    id: bytes
    public: bytes

    @staticmethod
    def parse(text: str) -> "WitnessKey":
        match = re.fullmatch(r"([^\s\x00-\x1f+]+)\+([0-9a-f]{8})\+(\S+)", text)
        if match is None:
            raise Malformed("witness key: not <name>+<key id>+<key>")
        name, key = match[1], _base64(match[3], "witness key")
        if len(key) != 33 or key[0] != 4:
            raise Malformed("witness key: no Ed25519 key for cosignatures")
        key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
        if match[2] != key_id.hex():
            raise Malformed(f"witness key: its id is {key_id.hex()}")
        return WitnessKey(name, key_id, key[1:])


class FalseCosignature(Exception):
    """A line that names a witness and is not its cosignature of the note."""


def cosigned(note: bytes, keys: Sequence[WitnessKey]) -> dict[str, int]:
    """The witnesses that cosigned a note, with their times in Unix seconds. Raises FalseCosignature."""
    text, _, lines = note.decode("utf-8").rpartition("\n\n")
    good: dict[str, int] = {}
    for line in lines[:-1].split("\n"):
        match = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
        if match is None:
            raise Malformed("note: not a signature line")
        data = _base64(match[2], "signature")
        time = int.from_bytes(data[4:12], "big")
        if len(data) != 76 or not 0 < time < 1 << 63:
            continue
        for key in keys:
            if (match[1], data[:4]) != (key.name, key.id):
                continue
            message = f"cosignature/v1\ntime {time}\n{text}\n".encode()
            if not ed25519.verify(key.public, message, data[12:]):
                raise FalseCosignature(f"{key.name}+{key.id.hex()}")
            good.setdefault(key.name, time)
    return good


def _note(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a note, and its signature lines: names, and what their base64 stands for. Raises Malformed."""
    try:
        text, mark, lines = note.decode("utf-8").rpartition("\n\n")
    except UnicodeDecodeError as err:
        raise Malformed("note: not UTF-8") from err
    if not mark or not lines.endswith("\n"):
        raise Malformed("note: no text, empty line and signatures")
    signatures = []
    for line in lines[:-1].split("\n"):
        match = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
        if match is None:
            raise Malformed("note: not a signature line")
        signatures.append((match[1], _base64(match[2], "signature")))
    return text + "\n", signatures


def open_note(note: bytes, key: VerifierKey) -> str:
    """The text of a note that the key signed. Raises Malformed and NotSigned."""
    text, lines = _note(note)
    named = [signature for name, signature in lines if name == key.name]
    own = [signature[4:] for signature in named if signature[:4] == key.id]
    if named and not own:
        raise Stranger(f"{key.name}+{key.id.hex()}")
    if not own:
        raise Unnamed(f"{key.name}+{key.id.hex()}")
    if not ed25519.verify(key.public, text.encode(), own[0]):
        raise NotSigned(f"{key.name}+{key.id.hex()}")
    return text


@dataclass(frozen=True)
class Checkpoint:
    """A signed head: the tree's size and root."""

    size: int
    root: bytes

    @staticmethod
    def open(note: bytes, key: VerifierKey) -> "Checkpoint":
        """The checkpoint in a note that the key signed. Raises Malformed and NotSigned."""
        return Checkpoint._read(open_note(note, key), key)

    @staticmethod
    def peek(note: bytes, key: VerifierKey) -> "Checkpoint":
        """The checkpoint in a note of the key's name, whoever signed it. Raises Malformed."""
        return Checkpoint._read(_note(note)[0], key)

    @staticmethod
    def _read(text: str, key: VerifierKey) -> "Checkpoint":
        lines = text.split("\n")
        if len(lines) != 4 or lines[0] != key.name:
            raise Malformed(f"checkpoint: not the three lines {key.name}, size and root")
        return Checkpoint(_decimal(lines[1], "size"), _hash(lines[2], "root"))


@dataclass(frozen=True)
class Receipt:
    """A c2sp.org/tlog-proof: an entry's place under a checkpoint, which is not opened yet."""

    index: int
    proof: tuple[bytes, ...]
    note: bytes

    @staticmethod
    def parse(data: bytes) -> "Receipt":
        head, mark, note = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as err:
            raise Malformed("receipt: not ASCII before its checkpoint") from err
        if not mark or lines[0] != RECEIPT or len(lines) < 2 or not lines[1].startswith("index "):
            raise Malformed(f"receipt: no {RECEIPT}")
        index = _decimal(lines[1].removeprefix("index "), "index")
        return Receipt(index, tuple(_hash(line, "hash") for line in lines[2:]), note)

    def proves(self, leaf: bytes, checkpoint: Checkpoint) -> bool:
        """Whether the hashes lead from the leaf (its hash) to the checkpoint's root."""
        return root_of_proof(self.index, checkpoint.size, leaf, self.proof) == checkpoint.root


# Files


class Source(Protocol):
    def read(self, path: str) -> bytes:
        """The file at a path of log.md. Raises Unavailable."""


class Directory:
    """A log as plain files."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as err:
            raise Unavailable(f"{path}: {err.strerror}") from err


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere: a token must not go there."""

    def redirect_request(self, *_: object) -> None:
        return None


class House:
    """The log of a house, which serves it under /log/. The token goes with requests for entries only."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/").removesuffix("/log") + "/log/", token
        self._opener = urllib.request.build_opener(_Stay)

    def read(self, path: str) -> bytes:
        request = urllib.request.Request(self._url + path)
        if self._token and path.startswith(("tile/entries/", "blob/")):
            request.add_header("Authorization", "Bearer " + self._token)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.read()
        except (OSError, ValueError, http.client.HTTPException) as err:
            raise Unavailable(f"{path}: {err}") from err


def tile_path(level: int | str, index: int, width: int) -> str:
    """Where the tile of a level, or `entries`, is published."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    suffix = f".p/{width}" if width < TILE_WIDTH else ""
    return f"tile/{level}/{'/'.join(reversed(groups))}{suffix}"


def _tiles(count: int) -> Iterator[tuple[int, int]]:
    """Index and width of the tiles that hold `count` hashes or entries."""
    for start in range(0, count, TILE_WIDTH):
        yield start // TILE_WIDTH, min(TILE_WIDTH, count - start)


def _read_tile(source: Source, level: int | str, index: int, width: int) -> tuple[str, bytes, bool]:
    """A tile's path and data, and whether it may hold more than the width: once full it may stand for its parts."""
    path = tile_path(level, index, width)
    try:
        return path, source.read(path), False
    except Unavailable:
        full = tile_path(level, index, TILE_WIDTH)
        if full == path:
            raise
        try:
            return full, source.read(full), True
        except Unavailable:
            pass  # the part is what is missing
        raise


def entries(source: Source, size: int) -> Iterator[bytes]:
    """The entries of a log of this size. Raises Unavailable and Malformed."""
    for index, width in _tiles(size):
        path, bundle, longer = _read_tile(source, "entries", index, width)
        at = 0
        for _ in range(width):
            start = at + 2
            at = start + int.from_bytes(bundle[at:start], "big")
            if len(bundle) < max(start, at):
                raise Malformed(f"{path}: fewer than {width} entries")
            yield bundle[start:at]
        if at != len(bundle) and not longer:
            raise Malformed(f"{path}: more than {width} entries")


def different_hashes(source: Source, tree: Tree) -> Iterator[tuple[int, str]]:
    """The first hash of each published tile that is not the tree's: the first entry under it, and the tile.

    Raises Unavailable and Malformed.
    """
    for level, hashes in enumerate(tree.levels):
        for index, width in _tiles(len(hashes)):
            path, data, longer = _read_tile(source, level, index, width)
            if len(data) != 32 * (TILE_WIDTH if longer else width):
                raise Malformed(f"{path}: {len(data)} bytes")
            for position in range(width):
                at = TILE_WIDTH * index + position
                if data[32 * position : 32 * position + 32] != hashes[at]:
                    yield at * TILE_WIDTH**level, path
                    break
