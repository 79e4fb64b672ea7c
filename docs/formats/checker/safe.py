"""A SAFE (docs/formats/deliveries.md) against the log that it is of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tlog
from deliveries import (
    ENTRIES,
    FILE,
    MANY,
    MAYBE,
    NUMBER,
    OMITTED,
    ONE,
    OPTIONAL_TEXT,
    RECORDS_MOST,
    TEXT,
    WHY,
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
    day_after,
    decimal,
    difference,
    digest,
    folders,
    read,
    read_file,
    read_listed,
)

FORMAT, PLACES = "countroom/vault/safe/1", 10

MANIFEST = Shape(
    {"format": TEXT, "origin": TEXT, "day": TEXT},
    {"Entries": (ENTRIES, ONE), "Omitted": (OMITTED, MANY), "File": (FILE, MANY)},
)
_LEDGER = Shape({"first": NUMBER, "last": NUMBER, "size": NUMBER, "root": TEXT, "entries": TEXT, "leaves": TEXT})
_SESSION = Shape(
    {"id": TEXT, "day": TEXT},
    {
        "Ledger": (_LEDGER, ONE),
        "SpillerPseudonym": TEXT,
        "SpilID": TEXT,
        "SessionStart": OPTIONAL_TEXT,
        "SessionSlut": OPTIONAL_TEXT,
        "FoersteSpil": OPTIONAL_TEXT,
        "SidsteSpil": OPTIONAL_TEXT,
        "Valuta": OPTIONAL_TEXT,
        "AntalSpil": NUMBER,
        "IndskudSpil": TEXT,
        "GevinstSpil": TEXT,
        "IndskudJackpot": TEXT,
        "GevinstJackpot": TEXT,
        "RNG": (Shape({"first_epoch": NUMBER, "last_epoch": NUMBER}), MAYBE),
        "Software": (Shape({"ledger_index": NUMBER, "release": TEXT, "sha256": TEXT, "rounds": NUMBER}), MANY),
    },
)
SESSIONS = Shape({"format": TEXT, "origin": TEXT, "day": TEXT, "number": NUMBER}, {"Session": (_SESSION, MANY)})
_PLAY = Shape(
    elements={"SpilID": TEXT, "Valuta": TEXT, "AntalSessioner": NUMBER, "AntalSpil": NUMBER, "IndskudSpil": TEXT, "GevinstSpil": TEXT}
)
_CASH = Shape(
    elements={
        "Valuta": TEXT,
        "Ledger": (_LEDGER, ONE),
        "AntalIndbetalinger": NUMBER,
        "Indbetalinger": TEXT,
        "AntalUdbetalinger": NUMBER,
        "Udbetalinger": TEXT,
    }
)
_DAY = {"format": TEXT, "origin": TEXT, "day": TEXT}
END = Shape(_DAY, {"Ledger": (ENTRIES, ONE), "Spil": (_PLAY, MANY), "Konto": (_CASH, MANY)})
JACKPOTS = Shape(_DAY, {"Ledger": (ENTRIES, ONE), "Udloest": NUMBER})
SEAL = Shape({"origin": TEXT, "day": TEXT}, {"Token": TEXT, "Manifest_SHA256": TEXT, "Seal": TEXT})

OUTSIDE = {
    "house.created": "the operator is known by its licence",
    "player.created": "accounts are no records of play",
    "player.state-changed": "accounts are no records of play",
    "game.enabled": "sessions name the releases that were played",
    "game.disabled": "sessions name the releases that were played",
}

_DAY_NAME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FILE_NAME = re.compile(r"checkpoint|endofday\.xml|jackpots\.xml|sessions-[0-9]{5,8}\.xml")
_RANGES = re.compile("(0|[1-9][0-9]{0,15})(-[1-9][0-9]{0,15})?( [1-9][0-9]{0,15}(-[1-9][0-9]{0,15})?)*")
_PRINTABLE = re.compile("[!-~]{1,4096}")


def read_ranges(text: str) -> list[tuple[int, int]]:
    """The entries of a record, from the first to the last of each range. Raises Malformed."""
    if _RANGES.fullmatch(text) is None:
        raise Malformed("no ranges of entries")
    ranges: list[tuple[int, int]] = []
    for part in text.split(" "):
        first, ranged, last = part.partition("-")
        one = int(first), int(last or first)
        if ranged and one[1] <= one[0] or ranges and one[0] <= ranges[-1][1] + 1:
            raise Malformed("ranges that do not rise")
        ranges.append(one)
    return ranges


# From entries to records


@dataclass
class Bound:
    """Gathers the entries of a record."""

    indexes: list[int] = field(default_factory=list)

    def ledger(self, log: Log, under: tlog.Checkpoint) -> Value:
        ranges: list[list[int]] = []
        for index in self.indexes:
            if ranges and ranges[-1][1] + 1 == index:
                ranges[-1][1] = index
            else:
                ranges.append([index, index])
        text = " ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
        leaves = digest(b"".join(log.hashes[index] for index in self.indexes))
        span = {"first": self.indexes[0], "last": self.indexes[-1], "size": under.size, "root": under.root.hex()}
        return span | {"entries": text, "leaves": leaves}


@dataclass
class Playing(Bound):
    """A session on its way."""

    record: Value = field(default_factory=dict)
    rounds: int = 0
    stakes: int = 0
    payouts: int = 0

    def round(self, log: Log, entry: dict) -> None:
        currency, epoch, record = entry["stake"]["currency"], entry["draw"]["epoch"], self.record
        if self.rounds == 0:
            record |= {"SpilID": entry["game"], "FoersteSpil": entry["at"], "Valuta": currency}
            record["RNG"] = {"first_epoch": epoch, "last_epoch": epoch}
        if (record["SpilID"], record["Valuta"]) != (entry["game"], currency):
            raise NoLog(f"the session {record['id']}: more than one game or currency")
        self.rounds += 1
        self.stakes += entry["stake"]["amount"]
        self.payouts += entry["payout"]["amount"]
        record["SidsteSpil"], record["RNG"]["last_epoch"] = entry["at"], epoch
        software = record["Software"]
        if not software or software[-1]["ledger_index"] != entry["enabled"]:
            enabled = log.entry(entry["enabled"])
            if enabled["type"] != "game.enabled":
                raise NoLog(f"entry {entry['enabled']} is {enabled['type']}")
            release = {"release": enabled["release"], "sha256": enabled["maths"], "rounds": 0}
            software.append({"ledger_index": entry["enabled"], **release})
        software[-1]["rounds"] += 1

    def finish(self, log: Log, under: tlog.Checkpoint) -> Value:
        zero = decimal(0, self.record["Valuta"], PLACES)
        return self.record | {
            "Ledger": self.ledger(log, under),
            "AntalSpil": self.rounds,
            "IndskudSpil": decimal(self.stakes, self.record["Valuta"], PLACES),
            "GevinstSpil": decimal(self.payouts, self.record["Valuta"], PLACES),
            "IndskudJackpot": zero,
            "GevinstJackpot": zero,
        }


@dataclass
class Movements(Bound):
    """Deposits and withdrawals of a currency: count and sum of each."""

    figures: list[int] = field(default_factory=lambda: [0, 0, 0, 0])


class Day:
    """What the entries of a day come to as records."""

    def __init__(self, log: Log, day: str, begin: int, end: int, under: tlog.Checkpoint) -> None:
        self.omitted = Omissions()
        self._log, self._day = log, day
        self._playing: dict[str, Playing] = {}
        moved: dict[str, Movements] = {}
        for index, entry in log.entries(begin, end):
            match entry["type"]:
                case "session.opened":
                    self._session(entry["id"], index, entry).record.update(SpilID=entry["game"], SessionStart=entry["at"])
                case "session.closed":
                    self._session(entry["session"], index, entry).record["SessionSlut"] = entry["at"]
                case "round.settled":
                    self._session(entry["actor"].removeprefix("session/"), index, entry).round(log, entry)
                case "wallet.deposited" | "wallet.withdrawn":
                    one = moved.setdefault(entry["amount"]["currency"], Movements())
                    one.indexes.append(index)
                    at = 0 if entry["type"] == "wallet.deposited" else 2
                    one.figures[at] += 1
                    one.figures[at + 1] += entry["amount"]["amount"]
                case other:
                    why = WHY.get(other) or OUTSIDE.get(other)
                    if why is None:
                        raise NoLog(f"entry {index} is {other}: neither a record nor a reason to have none")
                    self.omitted.add(other, why)
        self.sessions = [one.finish(log, under) for one in self._playing.values()]
        self.cash = [
            {
                "Valuta": currency,
                "Ledger": one.ledger(log, under),
                "AntalIndbetalinger": one.figures[0],
                "Indbetalinger": decimal(one.figures[1], currency, PLACES),
                "AntalUdbetalinger": one.figures[2],
                "Udbetalinger": decimal(one.figures[3], currency, PLACES),
            }
            for currency, one in sorted(moved.items())
        ]

    def _session(self, name: str, index: int, entry: dict) -> Playing:
        if name not in self._playing:
            record: Value = {element: "" for element in _SESSION.elements}
            record |= {"id": name, "day": self._day, "SpillerPseudonym": entry["player"], "RNG": None, "Software": []}
            self._playing[name] = Playing(record=record)
        one = self._playing[name]
        one.indexes.append(index)
        return one


def control(sessions: list[Value]) -> list[Value]:
    """What sessions come to, by game and currency."""
    games: dict[tuple[str, str], list[int]] = {}
    for one in sessions:
        if one["AntalSpil"]:
            sums = games.setdefault((one["SpilID"], one["Valuta"]), [0, 0, 0, 0])
            for i, value in enumerate((1, one["AntalSpil"], *_figures(one))):
                sums[i] += value
    return [
        {
            "SpilID": game,
            "Valuta": currency,
            "AntalSessioner": sums[0],
            "AntalSpil": sums[1],
            "IndskudSpil": decimal(sums[2], currency, PLACES),
            "GevinstSpil": decimal(sums[3], currency, PLACES),
        }
        for (game, currency), sums in sorted(games.items())
    ]


def _figures(one: Value) -> tuple[int, int]:
    return amount(one["IndskudSpil"], one["Valuta"], PLACES), amount(one["GevinstSpil"], one["Valuta"], PLACES)


# The check


def read_manifest(data: bytes) -> Value:
    """Raises Malformed."""
    m = read(data, "Delivery", MANIFEST)
    if m["format"] != FORMAT:
        raise Malformed(f"format {m['format']:.40}")
    day_after(m["day"])
    check_listing(m, _FILE_NAME)
    return m


class Safe:
    """Goes through the days of a vault."""

    def __init__(self, log: Log, vault: Path) -> None:
        self.log, self.vault = log, vault
        self.sessions = self.rounds = self.omitted = self.sealed = 0

    def check(self) -> dict:
        names = folders(self.vault, _DAY_NAME)
        if not names:
            raise NoLog("a vault without a day")
        manifests = []
        for i, name in enumerate(names):
            try:
                if i and day_after(names[i - 1]) != name:
                    raise Malformed("another day")
            except Malformed as err:
                raise Difference("day", name, f"the day after {names[i - 1]}", name) from err
            data = read_file(self.vault / name / "manifest.xml", name)
            try:
                m = read_manifest(data)
            except Malformed as err:
                raise Difference("manifest", name, "a manifest", err) from err
            self._day(self.vault / name, m)
            self._seal(self.vault / name, m, digest(data))
            manifests.append(m)
        begin, end = manifests[0]["Entries"]["from"], manifests[-1]["Entries"]["to"]
        return {
            "origin": self.log.origin, "days": len(names), "first_day": names[0], "last_day": names[-1], "from": begin, "to": end,
            "sessions": self.sessions, "rounds": self.rounds, "omitted": self.omitted, "sealed": self.sealed,
            "unsealed": len(names) - self.sealed,
        }

    def _day(self, folder: Path, m: Value) -> None:
        span, name = m["Entries"], folder.name
        if m["day"] != name:
            raise Difference("day", name, name, m["day"])
        count = len(m["File"])
        if count < 3:
            raise Difference("files", name, "at least 3 files", count)
        want = ["checkpoint", *(f"sessions-{i:05d}.xml" for i in range(1, count - 2)), "endofday.xml", "jackpots.xml"]
        check_files(folder, m["File"], want, {"manifest.xml", "tampertoken.xml"})
        under = self.log.under(folder, m["origin"], m["File"][0], span)
        within = tuple(self.log.before(f"{day}T00:00:00.000000Z") for day in (name, day_after(name)))
        if within != (span["from"], span["to"]):
            raise Difference("day", name, within, (span["from"], span["to"]))
        sessions, end, jackpots = self._files(folder, m)
        self._cover(name, span, sessions, end)
        day = Day(self.log, name, *within, under)
        for want_, found in zip(day.sessions, sessions, strict=False):
            difference(f"{name}: session {found['id']}", want_, found)
        if len(day.sessions) != len(sessions):
            raise Difference("record-missing", name, f"{len(day.sessions)} sessions", len(sessions))
        day.omitted.check(name, m["Omitted"])
        difference(f"{name}/endofday.xml", {"Spil": control(day.sessions), "Konto": day.cash}, {x: end[x] for x in ("Spil", "Konto")})
        difference(f"{name}/jackpots.xml", 0, jackpots["Udloest"])
        difference(f"{name}/endofday.xml", control(sessions), end["Spil"])
        self._reconcile(name, span, sessions, end)
        self.sessions += len(sessions)
        self.rounds += sum(one["AntalSpil"] for one in sessions)
        self.omitted += sum(one["count"] for one in m["Omitted"])

    def _reconcile(self, day: str, span: Value, sessions: list[Value], end: Value) -> None:
        found = Totals()
        for one in sessions:
            if one["AntalSpil"]:
                found.add_play((one["day"], one["SpilID"], one["Valuta"]), one["AntalSpil"], *_figures(one))
        for one in end["Konto"]:
            into, out = (amount(one[which], one["Valuta"], PLACES) for which in ("Indbetalinger", "Udbetalinger"))
            found.add_cash((day, one["Valuta"]), one["AntalIndbetalinger"], into, one["AntalUdbetalinger"], out)
        self.log.totals(span["from"], span["to"]).reconcile(found)

    def _files(self, folder: Path, m: Value) -> tuple[list[Value], Value, Value]:
        sessions: list[Value] = []
        read_: dict[str, Value] = {}
        for number, one in enumerate(m["File"][1:], 1):
            where, data = f"{folder.name}/{one['name']}", read_listed(folder, one)
            want = {"format": FORMAT, "origin": m["origin"], "day": m["day"]}
            try:
                match one["name"]:
                    case "endofday.xml":
                        f = read(data, "EndOfDay", END)
                        count, want = len(f["Spil"]) + len(f["Konto"]), want | {"Ledger": m["Entries"]}
                    case "jackpots.xml":
                        f = read(data, "Jackpots", JACKPOTS)
                        count, want = f["Udloest"], want | {"Ledger": m["Entries"]}
                    case _:
                        f = read(data, "KasinospilPrSession", SESSIONS)
                        count, want = len(f["Session"]), want | {"number": number}
                        sessions += f["Session"]
                        if not 1 <= count <= RECORDS_MOST:
                            raise Malformed(f"{count} sessions")
                if count != one["records"] or any(f[member] != want[member] for member in want):
                    raise Malformed(f"another file, or {count} records")
            except Malformed as err:
                raise Difference("file", where, f"{one['records']} records of {m['origin']} on {m['day']}", err) from err
            read_[one["name"]] = f
        return sessions, read_["endofday.xml"], read_["jackpots.xml"]

    def _cover(self, name: str, span: Value, sessions: list[Value], end: Value) -> None:
        """Demands that each entry of the day is in one record, or of a type that is in none."""
        of: dict[int, str] = {}
        listed = [(f"session {one['id']}", one["Ledger"]) for one in sessions]
        listed += [(f"account total in {one['Valuta']}", one["Ledger"]) for one in end["Konto"]]
        for record, index in self._indexes(name, span, listed):
            if index in of:
                raise Difference("record-twice", f"{name}: {record}", f"entry {index} in {of[index]} alone", "it here too")
            of[index] = record
        for index, entry in self.log.entries(span["from"], span["to"]):
            why = WHY.get(entry["type"]) or OUTSIDE.get(entry["type"])
            if index not in of and why is None:
                raise Difference("record-missing", name, f"entry {index} ({entry['type']}) in a record", "it in none")
            if index in of and why is not None:
                raise Difference("record-stranger", f"{name}: {of[index]}", f"entry {index} in no record: {why}", "it here")

    @staticmethod
    def _indexes(name: str, span: Value, listed: list[tuple[str, Value]]) -> Iterator[tuple[str, int]]:
        for record, ledger in listed:
            try:
                ranges = read_ranges(ledger["entries"])
            except Malformed as err:
                raise Difference("record-content", f"{name}: {record}", "the entries of the record", err) from err
            for first, last in ranges:
                if first < span["from"] or last >= span["to"]:
                    raise Difference("record-stranger", f"{name}: {record}", f"entries of {name}", f"{first}-{last}")
                for index in range(first, last + 1):
                    yield record, index

    def _seal(self, folder: Path, m: Value, manifest: str) -> None:
        if not (folder / "tampertoken.xml").exists():
            return
        data = read_file(folder / "tampertoken.xml", folder.name)
        try:
            seal = read(data, "TamperToken", SEAL)
            if _PRINTABLE.fullmatch(seal["Token"]) is None or _PRINTABLE.fullmatch(seal["Seal"]) is None:
                raise Malformed("no token and seal")
            if (seal["origin"], seal["day"], seal["Manifest_SHA256"]) != (m["origin"], m["day"], manifest):
                raise Malformed(f"one of {seal['Manifest_SHA256']} of {seal['origin']} on {seal['day']}")
        except Malformed as err:
            raise Difference("seal", folder.name, f"a seal of the manifest {manifest}", err) from err
        self.sealed += 1
