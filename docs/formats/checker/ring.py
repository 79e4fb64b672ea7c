"""The checkpoint keys that a history leads to (docs/formats/keys.md, "History")."""

from collections.abc import Iterator

import canonical
import records
import tlog
from books import Key, cross_signed

Receipts = list[tuple[tlog.Receipt, bytes]]


class NoHistory(ValueError):
    """A file that leads from no key to another."""


class Ring:
    """The keys that are known to be the house's: one to begin with, and those that a history leads to from there."""

    def __init__(self, key: tlog.VerifierKey) -> None:
        self.name = key.name
        self.keys = [Key("checkpoint", "ed25519", key.text, 0)]

    def open(self, note: bytes) -> tlog.Checkpoint:
        """The checkpoint in a note that a key of the ring, in force at its size, signed. Raises Malformed and NotSigned.

        Stranger, where only keys of its name signed to which the ring does not lead, is no evidence.
        """
        bad = retired = stranger = None
        for key in self.keys:
            try:
                checkpoint = tlog.Checkpoint.open(note, tlog.VerifierKey.parse(key.public))
            except tlog.Stranger as err:
                stranger = err
            except tlog.Unnamed:
                continue
            except tlog.NotSigned as err:
                bad = err
            else:
                if key.in_force(checkpoint.size):
                    return checkpoint
                retired = tlog.NotSigned(f"a key that was in force at size {checkpoint.size}, as {key.public} was not")
        raise bad or retired or stranger or tlog.Unnamed(self.keys[-1].public)

    def follow(self, pairs: Receipts) -> None:
        """Takes the receipts and leaves of a history. Raises NoHistory, and then nothing was taken."""
        before, self.keys = self.keys, [Key(**vars(key)) for key in self.keys]
        try:
            self._follow(pairs)
        except (ValueError, tlog.NotSigned) as err:
            self.keys = before
            raise NoHistory(f"history: {err}") from err

    def _follow(self, pairs: Receipts) -> None:
        if not pairs:
            raise NoHistory("no leaf and receipt")
        used = []
        for receipt, leaf in pairs:
            try:
                entry = records.read(leaf)
            except records.UnknownType as err:
                raise NoHistory(f"entry {receipt.index} is of an unknown type {err}") from err
            if entry["type"] not in ("key.introduced", "key.retired"):
                raise NoHistory(f"entry {receipt.index} is {entry['type']}")
            if entry["type"] == "key.introduced" and entry["role"] != "checkpoint":
                raise NoHistory(f"entry {receipt.index} introduces a key for {entry['role']}")
            known = [key for key in self.keys if key.public == entry["public"]]
            if entry["type"] == "key.retired":
                for key in known:
                    key.retired = receipt.index
            elif known:
                known[0].introduced = receipt.index
            else:
                known = self._new(entry, receipt.index)
            if known:
                used.append((receipt, leaf))
        for receipt, leaf in used:
            checkpoint = self.open(receipt.note)
            if not receipt.proves(tlog.leaf_hash(leaf), checkpoint):
                raise NoHistory(f"entry {receipt.index}: its hashes do not lead to its root")

    def _new(self, entry: dict, index: int) -> list[Key]:
        """The key that an entry introduces, if one of the ring that is not retired signed for it."""
        new = Key("checkpoint", entry["algorithm"], entry["public"], index)
        if not any(cross_signed(entry, self.name, old, new) for old in self.keys if old.retired == 0):
            return []
        self.keys.append(new)
        return [new]


def answers(data: bytes) -> Receipts:
    """The receipts in a saved answer, at any depth, each with its leaf in canonical form. Raises ValueError."""
    return list(_answers(canonical.read_any(data)))


def _answers(value: object) -> Iterator[tuple[tlog.Receipt, bytes]]:
    if isinstance(value, list):
        for item in value:
            yield from _answers(item)
    elif isinstance(value, dict):
        leaf, receipt = value.get("leaf"), value.get("receipt")
        if isinstance(leaf, dict) and isinstance(receipt, str):
            yield tlog.Receipt.parse(receipt.encode()), canonical.write(leaf)
        else:
            yield from _answers(list(value.values()))
