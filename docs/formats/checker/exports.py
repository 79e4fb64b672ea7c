"""Exports (docs/formats/export.md): the container, what binds its leaves to the checkpoint, its tables, its signature."""

import base64
import binascii
import csv
import hashlib
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import canonical
import chance
import records
import slots
import statements
import tlog
from books import Key, cross_signed
from ring import NoHistory, Receipts, Ring

FORMAT = "countroom/export/v1"
EXPORT, SPAN = "urn:countroom:export:v1", "urn:countroom:span:v1"
SAYS = (
    "Entries first to last of this log are all rounds and money movements of this span. In it the round numbers of each "
    "player at each game, and the draw numbers of each seed epoch, have no gap, and every balance follows from the one "
    "before. This is complete as to the log: a bet that was refused, or that never reached the house, has no entry and is "
    "not in it."
)
NAME = re.compile(r"[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)?")
TABLES = "rounds", "transactions", "players", "ggr"
COLUMNS = {
    "rounds": "index,at,round,player,actor,game,enabled,n,epoch,draw,currency,stake,payout,balance",
    "transactions": "index,at,id,kind,player,currency,amount,balance",
    "players": "player,currency,opening,deposits,withdrawals,rounds,stakes,payouts,closing",
    "ggr": "day,game,currency,rounds,stakes,payouts,ggr",
}


class Rejected(Exception):
    """What is wrong with an export, by the name of the rule. Evidence is what the house signed for."""

    def __init__(self, rule: str, what: str = "") -> None:
        super().__init__(f"{rule}: {what}")
        self.rule, self.evidence = rule, False


@dataclass
class Export:
    """What an export was found to hold."""

    manifest: dict = field(default_factory=dict)
    rounds: int = 0
    outcomes: int = 0
    proven: int = 0
    certificate: dict | None = None


# The container


def _local(name: bytes, crc: int, size: int) -> bytes:
    head = struct.pack("<IHHHHHIIIHH", 0x04034B50, 45, 0, 0, 0, 33, crc, 2**32 - 1, 2**32 - 1, len(name), 20)
    return head + name + struct.pack("<HHQQ", 1, 16, size, size)


def _directory(entries: list[tuple[bytes, int, int, int]], at: int) -> bytes:
    out = b""
    for name, crc, size, header in entries:
        out += struct.pack(
            "<IHHHHHHIIIHHHHHII", 0x02014B50, 0x032D, 45, 0, 0, 0, 33, crc, 2**32 - 1, 2**32 - 1, len(name), 28, 0, 0, 0,
            0o100644 << 16, 2**32 - 1,
        ) + name + struct.pack("<HHQQQ", 1, 24, size, size, header)
    size, count = len(out), len(entries)
    out += struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 0x032D, 45, 0, 0, count, count, size, at)
    out += struct.pack("<IIQI", 0x07064B50, 0, at + size, 1)
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a container, in order. Raises Rejected."""
    entries, files, at = [], {}, 0
    while data[at : at + 4] == b"PK\x03\x04" and len(data) >= at + 50:
        crc, count = struct.unpack_from("<I8xH", data, at + 14)
        name = data[at + 30 : at + 30 + count]
        if len(data) < at + 50 + count:
            raise Rejected("container", "cut off")
        size = struct.unpack_from("<Q", data, at + 34 + count)[0]
        head, begin = _local(name, crc, size) if count <= 128 else b"", at + 50 + count
        text = name.decode("latin-1")
        if data[at:begin] != head or NAME.fullmatch(text) is None or text in files or len(entries) == 4096:
            raise Rejected("container", f"the entry at {at}")
        content = data[begin : begin + size] if begin + size <= len(data) else None
        if content is None:
            raise Rejected("container", f"{text} is cut off")
        entries.append((name, crc, size, at))
        files[text] = content
        at = begin + size
    if data[at:] != _directory(entries, at):
        raise Rejected("container", "the directory")
    files["\0crc"] = b"".join(struct.pack("<I", crc) for _, crc, _, _ in entries)
    return files


# Lines and proofs


def _need(files: dict[str, bytes], name: str) -> bytes:
    if name not in files:
        raise Rejected("container", f"no {name}")
    return files[name]


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if lines.pop() != b"":
        raise Rejected("line", "the last has no end")
    return lines


PROVEN = re.compile(rb'\{"hashes":\[((?:"[A-Za-z0-9+/]{43}="(?:,(?="))?)*)\],"index":(0|[1-9][0-9]{0,18})(?:,"leaf":(.*))?\}', re.DOTALL)


def _proven(line: bytes, with_leaf: bool) -> tuple[int, list[bytes], bytes]:
    match = PROVEN.fullmatch(line)
    if match is None or (match[3] is not None) != with_leaf:
        raise Rejected("line", "no entry with its proof")
    try:
        hashes = [base64.b64decode(one[1:-1], validate=True) for one in match[1].split(b",") if one]
    except binascii.Error as err:
        raise Rejected("line", "no base64") from err
    return int(match[2]), hashes, match[3]


def _record(leaf: bytes) -> dict:
    try:
        return records.read(leaf)
    except canonical.NotCanonical as err:
        raise Rejected("canonical", str(err)) from err


def _range_root(leaves: list[bytes], begin: int, left: list[bytes], right: list[bytes], size: int) -> bytes | None:
    """The root of a tree of which the leaves from begin on are given by their hashes, and the rest by full subtrees."""

    def subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            height = (start & -start).bit_length() - 1 if start else 64
            while 1 << height > end - start:
                height -= 1
            yield start, 1 << height
            start += 1 << height

    known = {}
    for start, end, hashes in ((0, begin, left), (begin + len(leaves), size, right)):
        places = list(subtrees(start, end))
        if len(places) != len(hashes):
            return None
        known.update(zip(places, hashes, strict=True))

    def root(start: int, width: int) -> bytes:
        if (start, width) in known:
            return known[start, width]
        if width == 1:
            return leaves[start - begin]
        half = 1 << (width - 1).bit_length() - 1
        return tlog.node_hash(root(start, half), root(start + half, width - half))

    return root(0, size) if size else tlog.EMPTY_ROOT


# The check


class Checker:
    """Goes through an export in the order of the page."""

    def __init__(self, data: bytes, key: tlog.VerifierKey, history: Receipts) -> None:
        self.key, self.found = key, Export()
        self.ring, self.history = Ring(key), history
        self.files = unpack(data)
        self.crcs = self.files.pop("\0crc")
        self.games: dict[int, slots.Game] = {}
        self.definitions: dict[str, bytes] = {}
        self.epochs: dict[int, dict] = {}
        self.used: tuple[set[int], set[int], set[str]] = set(), set(), set()
        self.signed = False

    def check(self) -> Export:
        try:
            self._checkpoint()
            self._statement()
            self._digests()
            self._seeds()
            self._enabled()
            self._leaves()
            self._called()
            self._bounds()
        except Rejected as err:
            err.evidence = self.signed and not getattr(err, "foreign", False)
            raise
        return self.found

    def _checkpoint(self) -> None:
        self.note = _need(self.files, "checkpoint")
        try:
            origin = self.note.split(b"\n", 1)[0].decode()
            if origin != self.key.name:
                raise Rejected("origin", origin)
            self.head = tlog.Checkpoint.peek(self.note, self.key)
        except ValueError as err:
            raise Rejected("checkpoint", str(err)) from err
        try:
            saved = canonical.read_any(_need(self.files, "keys.json"))
            pairs = [(tlog.Receipt.parse(one["receipt"].encode()), canonical.write(one["leaf"])) for one in saved]
        except (ValueError, KeyError, TypeError) as err:
            raise Rejected("keys", str(err)) from err
        if not pairs or pairs[0][0].index != 0 or any(receipt.note != self.note for receipt, _ in pairs):
            raise Rejected("keys", "receipts of entry 0 and exchanges under the checkpoint")
        self._lead(pairs[1:])
        try:
            self.ring.open(self.note)
        except tlog.NotSigned as err:
            raise Rejected("keys" if isinstance(err, tlog.Stranger) else "checkpoint-signature", str(err)) from err
        self.exports: list[str] = []
        last = -1
        for receipt, leaf in pairs:
            if receipt.index <= last or not receipt.proves(tlog.leaf_hash(leaf), self.head):
                raise Rejected("inclusion" if receipt.index > last else "keys", f"entry {receipt.index}")
            last, entry = receipt.index, _record(leaf)
            if entry["type"] == "house.created" and last == 0:
                self.exports += [one["public"] for one in entry["keys"] if one["role"] == "exports"]
            elif entry["type"] == "key.introduced" and last > 0:
                if entry["role"] == "exports":
                    new = Key("exports", entry["algorithm"], entry["public"], last)
                    before = (Key("exports", new.algorithm, public, 0) for public in self.exports)
                    if not any(cross_signed(entry, self.key.name, old, new) for old in before):
                        raise Rejected("keys", f"entry {last}")
                    self.exports.append(entry["public"])
            elif entry["type"] == "key.retired" and last > 0:
                self.exports = [public for public in self.exports if public != entry["public"]]
            else:
                raise Rejected("keys", entry["type"])

    def _lead(self, pairs: Receipts) -> None:
        """Follows the history that was given, and that of the export itself."""
        own = [pair for pair in pairs if _record(pair[1]).get("role") == "checkpoint"]
        for rule, history in ("history", self.history), ("keys", own):
            try:
                if history:
                    self.ring.follow(history)
            except NoHistory as err:
                raise Rejected(rule, str(err)) from err

    def _open(self, bundle: bytes) -> dict | None:
        """The statement in a bundle that a key for exports signed."""
        for public in self.exports:
            verify = statements.key(public)
            if verify is not None and (data := statements.payload(bundle, verify)) is not None:
                return statements.read(data)
        return None

    def _statement(self) -> None:
        bundle, data = _need(self.files, "export.sigstore.json"), _need(self.files, "manifest.json")
        try:
            json.loads(bundle)["dsseEnvelope"]
        except (ValueError, KeyError, TypeError) as err:
            raise Rejected("statement", "no bundle") from err
        statement = self._open(bundle)
        if statement is None:
            raise Rejected("statement-signature")
        if statement["predicateType"] != EXPORT:
            raise Rejected("statement-type", statement["predicateType"])
        if statement["subject"] != [{"digest": {"sha256": hashlib.sha256(data).hexdigest()}, "name": "manifest.json"}]:
            raise Rejected("manifest-digest")
        self.m = m = canonical.read_any(data)
        self.found.manifest = m
        self.signed = True
        if data != canonical.write(m) + b"\n" or m["format"] != FORMAT:
            raise Rejected("manifest")
        names = "checkpoint", "complete", "entries", "filter", "origin", "range", "span"
        if statement["predicate"] != {name: m[name] for name in names}:
            raise Rejected("statement")
        begin, end = m["range"]["from"], m["range"]["to"]
        if not m["files"] or m["files"][0]["name"] != "leaves.jsonl":
            raise Rejected("files")
        if m["origin"] != self.key.name:
            raise Rejected("origin")
        if m["checkpoint"] != {"root": self.head.root.hex(), "size": self.head.size}:
            raise Rejected("manifest-checkpoint")
        if not begin <= end <= self.head.size:
            raise Rejected("range")
        if m["complete"] != (not any(m["filter"].values())):
            raise Rejected("complete")
        if m["complete"] and m["entries"] != end - begin:
            raise Rejected("entries")
        self.signed = False

    def _digests(self) -> None:
        m, names = self.m, list(self.files)
        want = [one["name"] for one in m["files"]] + ["manifest.json", "export.sigstore.json"]
        if m["span"] and m["complete"]:
            want.append("span.sigstore.json")
        if names != want:
            raise Rejected("files", str(names))
        for one in m["files"]:
            content = self.files[one["name"]]
            if len(content) != one["bytes"] or hashlib.sha256(content).hexdigest() != one["sha256"]:
                raise Rejected("digest", one["name"])
        for i, name in enumerate(names):
            if struct.unpack_from("<I", self.crcs, 4 * i)[0] != zlib.crc32(self.files[name]):
                raise Rejected("container", f"the CRC of {name}")
        self.signed = True

    def _entries(self, name: str) -> Iterator[tuple[int, dict]]:
        last = -1
        for line in _lines(_need(self.files, name)):
            index, hashes, leaf = _proven(line, True)
            if index <= last:
                raise Rejected("order", name)
            last = index
            if tlog.root_of_proof(index, self.head.size, tlog.leaf_hash(leaf), hashes) != self.head.root:
                raise Rejected("inclusion", f"entry {index} in {name}")
            yield index, _record(leaf)

    def _seeds(self) -> None:
        for index, entry in self._entries("seeds.jsonl"):
            kind, told = entry["type"], self.epochs.setdefault(entry.get("epoch", -1), {})
            if kind.startswith("seed.committed"):
                told["commitment"] = entry["commitment"]
            elif kind.startswith("seed.activated"):
                told["external"] = bytes.fromhex(entry["external"]) if kind.endswith(".v2") else b""
            elif kind == "seed.revealed":
                if "commitment" not in told or "external" not in told:
                    raise Rejected("seeds", f"entry {index}")
                secret, salt = bytes.fromhex(entry["secret"]), bytes.fromhex(entry["salt"])
                if chance.commitment(self.key.name, entry["epoch"], secret, salt).hex() != told["commitment"]:
                    raise Rejected("seed-commitment", f"entry {index}")
                told["key"] = chance.epoch_key(secret, bytes.fromhex(told["commitment"]), told["external"])
            elif kind not in ("seed.closed", "seed.ended", "seed.abandoned"):
                raise Rejected("seeds", kind)

    def _enabled(self) -> None:
        for index, entry in self._entries("games.jsonl"):
            if entry["type"] != "game.enabled":
                raise Rejected("games", entry["type"])
            definition = entry["definition"]
            try:
                self.games[index] = slots.Game(canonical.read_any(definition))
            except (ValueError, slots.NotPlayable) as err:
                raise Rejected("games", str(err)) from err
            self.definitions[f"games/{hashlib.sha256(definition).hexdigest()}.json"] = definition
        have = {name: data for name, data in self.files.items() if name.startswith("games/")}
        if have != self.definitions:
            raise Rejected("games", "the definitions")

    def _leaves(self) -> None:
        m, lines = self.m, _lines(_need(self.files, "leaves.jsonl"))
        begin, end = m["range"]["from"], m["range"]["to"]
        folded = Fold(m["complete"])
        if m["complete"]:
            if len(lines) != end - begin:
                # What is wrong with the entries themselves is found first.
                indexes = list(range(begin, begin + min(len(lines), end - begin)))
            else:
                indexes = list(range(begin, end))
        else:
            indexes = self._each(lines)
        for index, leaf in zip(indexes, lines, strict=False):
            entry = _record(leaf)
            if not m["complete"] and not _takes(m["filter"], entry):
                raise Rejected("filter", f"entry {index}")
            folded.take(index, entry)
            if m["span"] and not m["span"]["from"] <= entry["at"] < m["span"]["to"]:
                raise Rejected("span", f"entry {index}")
            self._round(index, entry, folded)
        if len(lines) != m["entries"]:
            raise Rejected("entries", str(len(lines)))
        if m["complete"]:
            proof = canonical.read_any(_need(self.files, "range-proof.json"))
            sides = [[bytes.fromhex(one) for one in proof[name]] for name in ("left", "right")]
            if _range_root([tlog.leaf_hash(leaf) for leaf in lines], begin, *sides, self.head.size) != self.head.root:
                raise Rejected("range-proof")
        for name, text in folded.tables().items():
            if _need(self.files, f"{name}.csv") != text.encode():
                raise Rejected("table", f"{name}.csv")
        if m["span"] and m["complete"]:
            self._certificate(folded)

    def _each(self, lines: list[bytes]) -> list[int]:
        proofs, indexes = _lines(_need(self.files, "proofs.jsonl")), []
        last = self.m["range"]["from"] - 1
        for i, leaf in enumerate(lines):
            if i == len(proofs):
                raise Rejected("line", "a leaf without proof")
            index, hashes, _ = _proven(proofs[i], False)
            if not last < index < self.m["range"]["to"]:
                raise Rejected("order", f"entry {index}")
            if tlog.root_of_proof(index, self.head.size, tlog.leaf_hash(leaf), hashes) != self.head.root:
                raise Rejected("inclusion", f"entry {index}")
            last = index
            indexes.append(index)
        if len(proofs) != len(lines):
            raise Rejected("line", "a proof without leaf")
        return indexes

    def _round(self, index: int, entry: dict, folded: "Fold") -> None:
        games, epochs, blobs = self.used
        kind = entry["type"]
        if kind == "game.enabled":
            games.add(index)
        elif kind == "rng.assessed":
            blobs.update((entry["bundle"], entry["report"]))
        elif kind == "game.certified":
            blobs.add(entry["blob"])
        if kind != "round.settled":
            return
        draw = entry["draw"]
        games.add(entry["enabled"])
        epochs.add(draw["epoch"])
        game = self.games.get(entry["enabled"])
        if game is None:
            raise Rejected("games", f"entry {entry['enabled']}")
        values, outcome, payout = game.play(bytes.fromhex(draw["r"]), entry["stake"]["amount"])
        if values != draw["values"]:
            raise Rejected("draw-values", f"entry {index}")
        if canonical.write(outcome) != entry["outcome"]:
            raise Rejected("outcome", f"entry {index}")
        if payout != entry["payout"]["amount"]:
            raise Rejected("payout", f"entry {index}")
        self.found.rounds += 1
        self.found.outcomes += 1
        key = self.epochs.get(draw["epoch"], {}).get("key")
        if key is None:
            return
        nonce = folded.nonce(entry["player"], draw["epoch"])
        player = bytes.fromhex(entry["player"])
        r = chance.draw(key, self.key.name, game.id, game.version, player, draw["n"], 0, nonce).hex()
        if r == draw["r"]:
            self.found.proven += 1
        elif nonce or (self.m["complete"] and self.m["range"]["from"] == 0):
            raise Rejected("draw", f"entry {index}")

    def _called(self) -> None:
        games, epochs, blobs = self.used
        if set(self.games) != games:
            raise Rejected("games", str(games))
        if any({"commitment", "external"} - set(self.epochs.get(n, ())) for n in epochs):
            raise Rejected("seeds")
        complete = self.m["complete"]
        want = ["leaves.jsonl", *(["range-proof.json"] if complete else []), "checkpoint", "keys.json", "games.jsonl", "seeds.jsonl"]
        want += [*(["bounds.jsonl"] if self.m["span"] else []), *([] if complete else ["proofs.jsonl"])]
        want += [f"{name}.{form}" for name in TABLES for form in ("csv", "parquet")]
        want += sorted(self.definitions) + [f"blobs/{digest}" for digest in sorted(blobs)]
        for one, name in zip(self.m["files"], want, strict=False):
            if one["name"] != name:
                raise Rejected("files", one["name"])
            if name.startswith("blobs/") and name[6:] != one["sha256"]:
                raise Rejected("documents", name)
        if len(self.m["files"]) != len(want):
            raise Rejected("files")

    def _bounds(self) -> None:
        if not self.m["span"]:
            return
        begin, end = self.m["range"]["from"], self.m["range"]["to"]
        seen = []
        for index, entry in self._entries("bounds.jsonl"):
            seen.append(index)
            if index + 1 == begin and entry["at"] >= self.m["span"]["from"] or index == end and entry["at"] < self.m["span"]["to"]:
                raise Rejected("span", f"entry {index}")
        if seen != [begin - 1, end][begin == 0 :]:
            raise Rejected("span", str(seen))

    def _certificate(self, folded: "Fold") -> None:
        statement = self._open(_need(self.files, "span.sigstore.json"))
        derived = folded.certificate(self.m)
        self.found.certificate = derived
        foreign = statement is None or statement["predicateType"] != SPAN or statement["predicate"]["span"] != derived["span"]
        if foreign or statement["predicate"] != derived or statement["subject"] != [
            {"digest": {"sha256": self.m["files"][0]["sha256"]}, "name": "leaves.jsonl"}
        ]:
            err = Rejected("certificate")
            err.foreign = foreign
            raise err


def _takes(wanted: dict, entry: dict) -> bool:
    return all(not value or entry.get(name) == value for name, value in wanted.items())


# The fold


class Fold:
    """The tables, and what a certificate says."""

    def __init__(self, complete: bool) -> None:
        self._complete = complete
        self._rounds: list[list] = []
        self._transactions: list[list] = []
        self._players: dict[tuple[str, str], dict[str, int]] = {}
        self._days: dict[tuple[str, str, str], list[int]] = {}
        self._balances: dict[tuple[str, str], int] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._draws: dict[int, list[int]] = {}
        self._cash: dict[str, dict[str, int]] = {}
        self._nonces: dict[str, list[tuple[int, bytes]]] = {}
        self._last = ""

    def nonce(self, player: str, epoch: int) -> bytes:
        return next((nonce for since, nonce in reversed(self._nonces.get(player, [])) if since <= epoch), b"")

    def take(self, index: int, entry: dict) -> None:
        if entry["at"] < self._last:
            raise Rejected("time", f"entry {index}")
        self._last = entry["at"]
        kind = entry["type"]
        if kind == "round.settled":
            self._round(index, entry)
        elif kind in ("wallet.deposited", "wallet.withdrawn"):
            self._movement(index, entry, kind == "wallet.deposited")
        elif kind == "player.nonce-set":
            self._nonces.setdefault(entry["player"], []).append((entry["epoch"], bytes.fromhex(entry["nonce"])))

    def _account(self, index: int, entry: dict, currency: str, amount: int) -> dict[str, int]:
        own = None
        for one in entry["postings"]:
            where = one["account"], one["currency"]
            if self._complete:
                if one["balance"] - one["amount"] != self._balances.get(where, one["balance"] - one["amount"]):
                    raise Rejected("balance", f"entry {index}")
                self._balances[where] = one["balance"]
            if one["account"].startswith("player/"):
                own = one
        cash = f"player/{entry['player']}/cash"
        if len(entry["postings"]) != 2 or own is None or (own["account"], own["currency"], own["amount"]) != (cash, currency, amount):
            raise Rejected("postings", f"entry {index}")
        if sum(one["amount"] for one in entry["postings"]) != 0:
            raise Rejected("postings", f"entry {index}")
        fresh = dict.fromkeys(("deposits", "withdrawals", "rounds", "stakes", "payouts"), 0) | {"opening": own["balance"] - amount}
        row = self._players.setdefault((entry["player"], currency), fresh)
        row["closing"] = own["balance"]
        return row

    def _round(self, index: int, entry: dict) -> None:
        draw, stake, payout, currency = entry["draw"], entry["stake"]["amount"], entry["payout"]["amount"], entry["stake"]["currency"]
        if self._complete:
            who = entry["player"], entry["game"]
            if draw["n"] != self._counts.get(who, draw["n"] - 1) + 1:
                raise Rejected("round-number", f"entry {index}")
            self._counts[who] = draw["n"]
            span = self._draws.setdefault(draw["epoch"], [draw["number"], draw["number"] - 1])
            if draw["number"] != span[1] + 1:
                raise Rejected("draw-number", f"entry {index}")
            span[1] = draw["number"]
        row = self._account(index, entry, currency, payout - stake)
        day = self._days.setdefault((entry["at"][:10], entry["game"], currency), [0, 0, 0])
        for i, value in enumerate((1, stake, payout)):
            day[i] += value
            row[("rounds", "stakes", "payouts")[i]] += value
        columns = [entry["id"], entry["player"], entry["actor"], entry["game"], entry["enabled"], draw["n"], draw["epoch"], draw["number"]]
        self._rounds.append([index, entry["at"], *columns, currency, stake, payout, row["closing"]])

    def _movement(self, index: int, entry: dict, into: bool) -> None:
        amount, currency = entry["amount"]["amount"], entry["amount"]["currency"]
        row = self._account(index, entry, currency, amount if into else -amount)
        cash = self._cash.setdefault(currency, dict.fromkeys(("deposit_count", "deposits", "withdrawal_count", "withdrawals"), 0))
        kind = "deposit" if into else "withdrawal"
        row[kind + "s"] += amount
        cash[kind + "s"] += amount
        cash[kind + "_count"] += 1
        self._transactions.append([index, entry["at"], entry["id"], kind, entry["player"], currency, amount if into else -amount, row["closing"]])

    def tables(self) -> dict[str, str]:
        names = "opening", "deposits", "withdrawals", "rounds", "stakes", "payouts", "closing"
        rows = {
            "rounds": self._rounds,
            "transactions": self._transactions,
            "players": [[*who, *(row[name] for name in names)] for who, row in sorted(self._players.items())],
            "ggr": [[*where, *day, day[1] - day[2]] for where, day in sorted(self._days.items())],
        }
        out = {}
        for name in TABLES:
            text = io.StringIO()
            text.write(COLUMNS[name] + "\n")
            csv.writer(text, lineterminator="\n").writerows(rows[name])
            out[name] = text.getvalue()
        return out

    def certificate(self, m: dict) -> dict:
        games: dict[tuple[str, str], list[int]] = {}
        for (_, game, currency), day in self._days.items():
            total = games.setdefault((game, currency), [0, 0, 0])
            for i in range(3):
                total[i] += day[i]
        return {
            "cash": [
                {"currency": currency, **{name: cash[name] if name.endswith("count") else str(cash[name]) for name in cash}}
                for currency, cash in sorted(self._cash.items())
            ],
            "checkpoint": m["checkpoint"],
            "draws": [{"epoch": n, "first": span[0], "last": span[1]} for n, span in sorted(self._draws.items())],
            "games": [
                {"currency": currency, "game": game, "ggr": str(t[1] - t[2]), "payouts": str(t[2]), "rounds": t[0], "stakes": str(t[1])}
                for (game, currency), t in sorted(games.items())
            ],
            "origin": m["origin"],
            "players": len({player for player, _ in self._players}),
            "range": m["range"],
            "says": SAYS,
            "span": m["span"],
        }


def check(data: bytes, key: tlog.VerifierKey, history: Receipts) -> Export:
    """Checks an export; a history leads from the key. Raises Rejected."""
    return Checker(data, key, history).check()
