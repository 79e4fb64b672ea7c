"""A control databank (docs/formats/deliveries.md) against the log that it is of."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tlog
from deliveries import (
    ENTRIES,
    FILE,
    MANY,
    NUMBER,
    OMITTED,
    ONE,
    OPTIONAL_NUMBER,
    OPTIONAL_TEXT,
    RECORDS_MOST,
    TEXT,
    WHY,
    ZEROS,
    Difference,
    Log,
    Malformed,
    NoLog,
    Omissions,
    Shape,
    Totals,
    Value,
    amount,
    check_files,
    check_listing,
    decimal,
    difference,
    digest,
    folders,
    read,
    read_file,
    read_listed,
)

FORMAT, PLACES = "countroom/vault/cdb/1", 2

MANIFEST = Shape(
    {"format": TEXT, "origin": TEXT, "sequence": NUMBER, "kind": TEXT},
    {
        "Previous_SHA256": TEXT,
        "Batch_SHA256": TEXT,
        "Entries": (ENTRIES, ONE),
        "Omitted": (OMITTED, MANY),
        "File": (FILE, MANY),
    },
)
_LEDGER = Shape({"first": NUMBER, "last": NUMBER, "leaf": TEXT, "size": NUMBER, "root": TEXT})


def _record(**elements: str) -> Shape:
    head = {"action": TEXT, "corrects": OPTIONAL_NUMBER, "id": TEXT}
    return Shape(head, {"Ledger": (_LEDGER, ONE), "DateTime": TEXT, **elements})


# The kinds of records, in the order of a delivery's files: the name of their elements, and what is in them.
KINDS: dict[str, tuple[str, Shape]] = {
    "operator": ("Operator", _record(Log_Origin=TEXT)),
    "profile": ("Player_Profile", _record(Player_Profile_ID=TEXT, Currency=OPTIONAL_TEXT, Status=TEXT)),
    "game": ("Game", _record(Game_ID=TEXT, Status=TEXT, Release=OPTIONAL_TEXT, Maths_SHA256=OPTIONAL_TEXT)),
    "session": (
        "Game_Session",
        _record(Game_Session_ID=TEXT, Player_Profile_ID=TEXT, Game_ID=OPTIONAL_TEXT, Status=TEXT, Expires=OPTIONAL_TEXT),
    ),
    "bet": (
        "Bet",
        _record(
            Player_Profile_ID=TEXT, Game_Session_ID=TEXT, Game_ID=TEXT, Game_Ledger_Index=NUMBER, Round_Number=NUMBER,
            RNG_Epoch=NUMBER, RNG_Draw=NUMBER, Currency=TEXT, Stake=TEXT, Payout=TEXT, Balance_After=TEXT,
        ),
    ),
    "transaction": (
        "Account_Transaction",
        _record(Player_Profile_ID=TEXT, Transaction_Type=TEXT, Currency=TEXT, Amount=TEXT, Balance_After=TEXT),
    ),
    "cancellation": ("Cancellation", _record(Record_Type=TEXT, Reason=TEXT)),
}
RECORDS = Shape(
    {"format": TEXT, "origin": TEXT, "delivery": NUMBER, "number": NUMBER, "type": TEXT},
    {element: (shape, MANY) for element, shape in KINDS.values()},
)

_FILE_NAME = re.compile(r"checkpoint|[a-z]{3,12}-[0-9]{5,8}\.xml")
_DELIVERY = re.compile("delivery-[0-9]{8}")
_REASON = re.compile("[a-z]+(-[a-z]+){0,7}")


def _balance(entry: dict) -> int:
    account = f"player/{entry['player']}/cash"
    for posting in entry["postings"]:
        if posting["account"] == account:
            return posting["balance"]
    raise NoLog(f"entry {entry['id']}: no posting to its player")


def record_of(log: Log, index: int, entry: dict, under: tlog.Checkpoint) -> tuple[str, Value | None, str]:
    """The record of an entry with its kind, or why there is none."""
    own: Value
    match entry["type"]:
        case "house.created":
            kind, own = "operator", {"Log_Origin": entry["origin"]}
        case "player.created":
            kind, own = "profile", {"Player_Profile_ID": entry["player"], "Currency": entry["currency"], "Status": "open"}
        case "player.state-changed":
            kind, own = "profile", {"Player_Profile_ID": entry["player"], "Status": entry["state"]}
        case "game.enabled":
            told = {"Status": "enabled", "Release": entry["release"], "Maths_SHA256": entry["maths"]}
            kind, own = "game", {"Game_ID": entry["game"], **told}
        case "game.disabled":
            kind, own = "game", {"Game_ID": entry["game"], "Status": "disabled"}
        case "chance.alarmed" if entry["suspended"]:
            kind, own = "game", {"Game_ID": entry["game"], "Status": "suspended"}
        case "session.opened":
            own = {"Game_Session_ID": entry["id"], "Player_Profile_ID": entry["player"], "Game_ID": entry["game"]}
            kind, own = "session", own | {"Status": "opened", "Expires": entry["expires"]}
        case "session.closed":
            own = {"Game_Session_ID": entry["session"], "Player_Profile_ID": entry["player"], "Status": "closed"}
            kind = "session"
        case "round.settled":
            currency, draw = entry["stake"]["currency"], entry["draw"]
            amounts = {"Stake": entry["stake"]["amount"], "Payout": entry["payout"]["amount"], "Balance_After": _balance(entry)}
            own = {"Player_Profile_ID": entry["player"], "Game_Session_ID": entry["actor"].removeprefix("session/")}
            own |= {"Game_ID": entry["game"], "Game_Ledger_Index": entry["enabled"], "Round_Number": draw["n"]}
            own |= {"RNG_Epoch": draw["epoch"], "RNG_Draw": draw["number"], "Currency": currency}
            kind, own = "bet", own | {name: decimal(value, currency, PLACES) for name, value in amounts.items()}
        case "wallet.deposited" | "wallet.withdrawn":
            currency, amounts = entry["amount"]["currency"], {"Amount": entry["amount"]["amount"], "Balance_After": _balance(entry)}
            way = "deposit" if entry["type"] == "wallet.deposited" else "withdrawal"
            own = {"Player_Profile_ID": entry["player"], "Transaction_Type": way, "Currency": currency}
            kind, own = "transaction", own | {name: decimal(value, currency, PLACES) for name, value in amounts.items()}
        case other:
            if other not in WHY:
                raise NoLog(f"entry {index} is {other}: neither a record nor a reason to have none")
            return "", None, WHY[other]
    head: Value = {"action": "new", "corrects": 0, "id": entry["id"], "DateTime": entry["at"]}
    head["Ledger"] = {"first": index, "last": index, "leaf": log.hashes[index].hex(), "size": under.size, "root": under.root.hex()}
    empty = {name: "" for name in KINDS[kind][1].elements}
    return kind, empty | head | own, ""


def _corrected(kind: str, record: Value, delivery: int, reason: str) -> Value:
    """The record that replaces another, or with a reason cancels it."""
    head = {"action": "cancel" if reason else "replace", "corrects": delivery}
    if not reason:
        return record | head
    return {name: record[name] for name in ("id", "Ledger", "DateTime")} | head | {"Record_Type": kind, "Reason": reason}


def _name(kind: str, number: int) -> str:
    return f"{kind}-{number:05d}.xml"


def _folder(sequence: int) -> str:
    return f"delivery-{sequence:08d}"


def read_manifest(data: bytes) -> Value:
    """Raises Malformed."""
    m = read(data, "ControlManifest", MANIFEST)
    if m["format"] != FORMAT or m["kind"] not in ("entries", "corrections"):
        raise Malformed(f"format {m['format']:.40}, kind {m['kind']:.40}")
    check_listing(m, _FILE_NAME)
    if (m["kind"] == "entries") != (m["Entries"]["from"] < m["Entries"]["to"]):
        raise Malformed("some entries in a delivery of them, and none in one of corrections")
    return m


def read_chain(vault: Path) -> tuple[list[Value], str]:
    """The manifests of a vault, each held against the one before, and the SHA-256 of the last."""
    chain: list[Value] = []
    last = ZEROS
    for i, name in enumerate(folders(vault, _DELIVERY)):
        if name != _folder(i + 1):
            raise Difference("manifest-sequence", name, _folder(i + 1), "it")
        data = read_file(vault / name / "manifest.xml", name)
        try:
            m = read_manifest(data)
        except Malformed as err:
            raise Difference("manifest", name, "a manifest", err) from err
        _next(chain, last, name, m)
        chain.append(m)
        last = digest(data)
    return chain, last


def _next(chain: list[Value], last: str, name: str, m: Value) -> None:
    def demand(rule: str, expected: object, found: object, holds: bool = False) -> None:
        if not holds and expected != found:
            raise Difference(rule, name, expected, found)

    demand("manifest-sequence", len(chain) + 1, m["sequence"])
    demand("manifest-chain", last, m["Previous_SHA256"])
    lines = "".join(f"{one['sha256']}  {one['name']}\n" for one in m["File"])
    demand("manifest-batch", digest(lines.encode()), m["Batch_SHA256"])
    if not chain:
        demand("manifest-range", "entries", m["kind"])
        return
    before = chain[-1]
    demand("manifest-origin", before["origin"], m["origin"])
    demand("manifest-range", before["Entries"]["to"], m["Entries"]["from"])
    size = before["Entries"]["size"]
    demand("manifest-range", f"{size} or more", m["Entries"]["size"], m["Entries"]["size"] >= size)


@dataclass
class Standing:
    """What a later delivery says of an entry."""

    delivery: int
    kind: str
    cancelled: bool


class Databank:
    """Goes through the deliveries of a vault in their order."""

    def __init__(self, log: Log, vault: Path) -> None:
        self.log, self.vault = log, vault
        self.corrected: dict[int, Standing] = {}
        self.records: Counter[str] = Counter()
        self.omitted = self.replaced = self.cancelled = 0

    def check(self) -> dict:
        self.chain, last = read_chain(self.vault)
        if not self.chain:
            raise NoLog("a vault without a delivery")
        for m in self.chain:
            if m["kind"] == "corrections":
                self._note(m)
        for m in self.chain:
            self._delivery(m)
        begin, end = self.chain[0]["Entries"]["from"], self.chain[-1]["Entries"]["to"]
        return {
            "origin": self.chain[0]["origin"], "deliveries": len(self.chain), "from": begin, "to": end, "records": dict(self.records),
            "omitted": self.omitted, "replaced": self.replaced, "cancelled": self.cancelled, "manifest_sha256": last,
        }

    def _file(self, m: Value, one: Value) -> tuple[str, list[Value]]:
        """The records of a file, with their kind."""
        folder = self.vault / _folder(m["sequence"])
        where, data = f"{folder.name}/{one['name']}", read_listed(folder, one)
        try:
            f = read(data, "Records", RECORDS)
        except Malformed as err:
            raise Difference("file", where, "a file of records", err) from err
        records = [(kind, record) for kind, (element, _) in KINDS.items() for record in f[element]]
        if not 1 <= len(records) <= RECORDS_MOST or any(kind != f["type"] for kind, _ in records):
            raise Difference("file", where, f"1 to {RECORDS_MOST} records of one type", len(records))
        want = FORMAT, m["origin"], m["sequence"], one["name"], one["records"]
        found = f["format"], f["origin"], f["delivery"], _name(f["type"], f["number"]), len(records)
        if want != found:
            raise Difference("file", where, want, found)
        return f["type"], [record for _, record in records]

    def _note(self, m: Value) -> None:
        """Takes note of what a delivery corrects, before any record is held against the log."""
        for one in m["File"]:
            if one["records"] == 0:
                continue
            kind, records = self._file(m, one)
            for record in records:
                first = record["Ledger"]["first"]
                where = f"{_folder(m['sequence'])}: {kind} of entry {first}"
                had = [d for d in self.chain[: m["sequence"] - 1] if d["Entries"]["from"] <= first < d["Entries"]["to"]]
                if not had:
                    raise Difference("correction", where, "an entry that an earlier delivery has", first)
                if record["corrects"] != had[0]["sequence"]:
                    raise Difference("correction", where, had[0]["sequence"], record["corrects"])
                before = self.corrected.get(first)
                if before is not None and (before.cancelled or before.delivery == m["sequence"]):
                    raise Difference("correction", where, "a record that stands", f"one of delivery {before.delivery}")
                cancels = kind == "cancellation"
                if cancels and (len(record["Reason"]) > 64 or _REASON.fullmatch(record["Reason"]) is None):
                    raise Difference("correction", where, "a reason to cancel", record["Reason"])
                self.corrected[first] = Standing(m["sequence"], record["Record_Type"] if cancels else kind, cancels)

    def _stack(self, m: Value, kind: str) -> Iterator[Value]:
        """The records of a kind in the order of the files."""
        listed, number = {one["name"]: one for one in m["File"]}, 1
        while (one := listed.get(_name(kind, number))) is not None:
            yield from self._file(m, one)[1]
            number += 1

    def _delivery(self, m: Value) -> None:
        folder = self.vault / _folder(m["sequence"])
        listed, want = {one["name"] for one in m["File"]}, ["checkpoint"]
        for kind in KINDS:
            number = 1
            while _name(kind, number) in listed:
                want.append(_name(kind, number))
                number += 1
        check_files(folder, m["File"], want, {"manifest.xml"})
        under = self.log.under(folder, m["origin"], m["File"][0], m["Entries"])
        stacks = {kind: _Peek(self._stack(m, kind)) for kind in KINDS}
        found, omitted = Totals(), Omissions()
        if m["kind"] == "entries":
            self._entries(folder.name, m, under, stacks, found, omitted)
        else:
            self._corrections(folder.name, m, under, stacks)
        for kind, stack in stacks.items():
            if (extra := stack.peek()) is not None:
                raise Difference("record-stranger", folder.name, f"no further {kind}", f"one of entry {extra['Ledger']['first']}")
        omitted.check(folder.name, m["Omitted"])
        if m["kind"] == "entries":
            self.log.totals(m["Entries"]["from"], m["Entries"]["to"]).reconcile(found)

    def _entries(
        self, name: str, m: Value, under: tlog.Checkpoint, stacks: "dict[str, _Peek]", found: Totals, omitted: Omissions
    ) -> None:
        for index, entry in self.log.entries(m["Entries"]["from"], m["Entries"]["to"]):
            kind, want, why = record_of(self.log, index, entry, under)
            if want is None:
                omitted.add(entry["type"], why)
                self.omitted += 1
                continue
            where, got = f"{name}: {kind} of entry {index}", stacks[kind].peek()
            if got is None or got["Ledger"]["first"] > index:
                raise Difference("record-missing", where, "a record", "none")
            if got["Ledger"]["first"] < index:
                raise Difference("record-stranger", where, "this record next", f"one of entry {got['Ledger']['first']}")
            stacks[kind].pop()
            self.records[kind] += 1
            if (later := self.corrected.get(index)) is not None:
                if later.kind != kind:
                    raise Difference("correction", where, kind, later.kind)
                got = want
            difference(where, want, got)
            _count(found, kind, got)

    def _corrections(self, name: str, m: Value, under: tlog.Checkpoint, stacks: "dict[str, _Peek]") -> None:
        for kind, stack in stacks.items():
            last = -1
            while (got := stack.peek()) is not None:
                stack.pop()
                first = got["Ledger"]["first"]
                where = f"{name}: {kind} of entry {first}"
                if first <= last:
                    raise Difference("record-stranger", where, "records in the order of the log", f"it behind {last}")
                last = first
                of, want, why = record_of(self.log, first, self.log.entry(first), under)
                if want is None:
                    raise Difference("correction", where, "an entry that has a record", why)
                if self.corrected[first].delivery == m["sequence"]:  # else a later one stands for it
                    difference(where, _corrected(of, want, got["corrects"], got.get("Reason", "")), got)
                if kind == "cancellation":
                    self.cancelled += 1
                else:
                    self.replaced += 1


class _Peek:
    """Records of which the next can be looked at."""

    def __init__(self, records: Iterator[Value]) -> None:
        self._records, self._next = records, None

    def peek(self) -> Value | None:
        if self._next is None:
            self._next = next(self._records, None)
        return self._next

    def pop(self) -> None:
        self._next = None


def _count(found: Totals, kind: str, record: Value) -> None:
    """Adds a record, as it stands in its file, to what the vault comes to."""
    day, read_amount = record["DateTime"][:10], _reader(record)
    if kind == "bet":
        found.add_play((day, record["Game_ID"], record["Currency"]), 1, read_amount("Stake"), read_amount("Payout"))
    if kind == "transaction":
        figures = 1, read_amount("Amount")
        figures = (*figures, 0, 0) if record["Transaction_Type"] == "deposit" else (0, 0, *figures)
        found.add_cash((day, record["Currency"]), *figures)


def _reader(record: Value) -> Callable[[str], int]:
    return lambda name: amount(record[name], record["Currency"], PLACES)
