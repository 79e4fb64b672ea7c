"""The rules between entries (docs/formats/entries.md), by the names and in the order that stand there.

A rule of the books ends the rules for all later entries when it is broken: the accounts,
sessions and epochs that they would be held against are no longer known. Other rules do not.
"""

import collections
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import beacon
import canonical
import chance
import ed25519
import escrow
import monitor
import p256
import records
import slots
import statements
from canonical import INTEGER_MOST, microseconds
from tlog import Malformed, VerifierKey

SECOND = 1_000_000
SESSION_MOST = 30 * 24 * 3600 * SECOND
GAMES_MOST = 1024
ATTRIBUTES_MOST = 32
OFFICERS_MOST = 64
KEYS_MOST = 256
CERTIFICATES_MOST = 16
SELF_CHECK_LATE = 25 * 3600 * SECOND
DRAWN_MOST = 4096
SECRET_SIZE = 32
SOURCE_NAME = re.compile(r"[a-z0-9.-]+")
SOURCE_REASONS = {"proportion", "refused", "repeated", "repetition", "short-read", "slow", "unavailable"}
SOURCES_OUT_MOST = 32
APPROVAL = "countroom/approval/v1"
REVEAL_LATE = 5 * 60 * SECOND
BEACON_AHEAD = 3600 * SECOND


@dataclass
class Finding:
    """Evidence against the house: the entry at an index breaks a rule.

    Where no one entry does, index is the size of the tree, or the first entry under a hash.
    """

    index: int
    rule: str
    expected: str


@dataclass(frozen=True)
class Restore:
    """The log was restored from a back-up of this size, as the entry at an index says."""

    size: int
    index: int


class _Stop(Exception):
    """The rules cannot be held against what comes after."""


@dataclass
class Player:
    currency: str
    state: str = "open"
    attributes: dict[str, str] = field(default_factory=dict)  # the latest commitments
    commitments: int = 0


@dataclass
class Session:
    player: str
    game: str
    expires: int
    closed: bool = False


@dataclass
class Key:
    """A key of the house, with the entries that introduced and retired it."""

    role: str
    algorithm: str
    public: str
    introduced: int
    retired: int = 0

    def in_force(self, size: int) -> bool:
        """Whether it signs a checkpoint of this size."""
        return self.introduced < size and (self.retired == 0 or self.retired >= size)

    def readable(self, origin: str) -> bool:
        if self.role != "checkpoint":
            return p256.key_of_hex(self.public) is not None
        try:
            return VerifierKey.parse(self.public).name == origin
        except Malformed:
            return False

    def signed(self, message: bytes, signature: bytes) -> bool:
        if self.role == "checkpoint":
            return ed25519.verify(VerifierKey.parse(self.public).public, message, signature)
        return p256.verify(p256.key_of_hex(self.public), message, signature)


def cross_signed(entry: dict, origin: str, old: Key, new: Key) -> bool:
    """Whether both keys signed the statement of a key.introduced."""
    if not (old.readable(origin) and new.readable(origin)):
        return False
    told = {name: entry[name] for name in ("algorithm", "assurance", "public", "role")}
    told |= {"origin": origin, "replaces": old.public, "tag": "countroom/key-statement/v1"}
    message = canonical.write(told)
    by_old, by_new = bytes.fromhex(entry["signature_old"]), bytes.fromhex(entry["signature_new"])
    return old.signed(message, by_old) and new.signed(message, by_new)


@dataclass
class Officer:
    algorithm: str
    public: bytes
    retired: bool = False

    def readable(self) -> bool:
        """Whether the public key is one of its algorithm."""
        if self.algorithm == "ed25519":
            return len(self.public) == 32
        return self.algorithm == "ecdsa-p256" and p256.key(self.public) is not None

    def signed(self, message: bytes, signature: bytes) -> bool:
        if self.algorithm == "ed25519":
            return ed25519.verify(self.public, message, signature)
        return p256.verify(p256.key(self.public), message, signature)


@dataclass
class Watched:
    """The release of a game that is watched, and what was last written down of it."""

    maths: str
    since: int
    rounds: int = 0
    through: int = 0


@dataclass
class Enabled:
    """A game, the index of its latest game.enabled and the maths in it."""

    index: int
    maths: str = ""
    on: bool = True


@dataclass
class Software:
    """What the running process is, by its house.active, and what it found of itself."""

    running: str = ""
    found: tuple[str, str] | None = None  # code and configuration, the first of the term
    matches: bool = False
    since: int = 0
    told: bool = False


@dataclass
class Draw:
    """A draw that the reveal of its epoch must prove."""

    index: int
    game: slots.Game
    player: str
    n: int
    r: str


@dataclass
class Epoch:
    commitment: bytes
    policy: str
    age: int
    draws_most: int
    delay: int
    external: bytes = b""
    activated: int = 0
    draws: int = 0
    closed: int = 0
    abandoned: bool = False
    proven: bool = False  # by a secret that others opened
    overdue: int | None = None  # time of the first entry at which the secret was due
    to_prove: list[Draw] = field(default_factory=list)

    def reached(self, at: int) -> str:
        """The limit that has ended the epoch by this time, empty for none."""
        if self.draws >= self.draws_most:
            return "draws"
        return "time" if at >= self.activated + self.age else ""


@dataclass
class Failure:
    """A source of entropy that is out."""

    count: int
    group: str
    index: int
    said: bool = True  # by the process that writes now


@dataclass
class Sources:
    """How the sources of entropy are. What failed stays when another process begins, unsaid by it."""

    out: dict[str, Failure] = field(default_factory=dict)
    sound: dict[str, str] = field(default_factory=dict)  # those in order, with their groups
    seeded: bool = False  # sound is all there are
    groups: int = 0
    minimum: int = 0  # 0 until the process said it

    def known(self) -> bool:
        """Whether it is known what is in order, and where each comes from."""
        return self.seeded and "" not in self.sound.values()

    def left(self) -> int:
        return len(set(self.sound.values()))


class Books:
    """What the entries taken so far add up to. Totals are in minor units."""

    def __init__(self, key: VerifierKey, blob: Callable[[str], bytes | None], boxes: Sequence[escrow.Box] = ()) -> None:
        """Boxes are seeds that those to whom they were escrowed opened."""
        self.findings: list[Finding] = []
        self.warnings: list[str] = []
        self.unchecked: list[str] = []
        self.stopped = False  # the rules are not held against what comes after
        self.size = 0
        self.rounds = 0
        self.rounds_proven = 0
        self.rounds_unplayed = 0  # of games that cannot be played
        self.epochs_revealed = self.epochs_opened = 0
        self.totals: dict[str, collections.Counter[str]] = {}
        self.restores: list[Restore] = []
        self._key = key
        self._at = 0
        self._ids: set[str] = set()
        self._keys: set[str] = set()
        self._seeds_key: tuple[int, int] | None = None
        self._active: dict = {}  # the latest house.active
        self._one_source = 0  # epochs of which the house asks for one source only
        self._announced: dict = {}  # the latest seed.committed.v2
        self._chain: beacon.Chain | None = None  # of its beacon, if all is right with it
        self._to_be_seen: set[tuple[str, str, str]] = set()  # rounds, their players, and what was to be displayed
        self._differs = ""  # the claim of the entry before, if it differs
        self.shown_otherwise = 0
        self._mismatch = 0, ""  # the latest software.verified that does not match: its index, and the program
        self._alarmed = 0, ""  # the latest alarm external-missing: its index, and what about
        self._term = 0
        self._players: dict[str, Player] = {}
        self._period = 0  # of the vault
        self.commitments: dict[tuple[str, int, str], str] = {}  # to values, by player, entry and attribute
        self._sessions: dict[str, Session] = {}
        self._nonces: dict[str, list[tuple[int, bytes]]] = collections.defaultdict(list)  # with their first epochs
        self._balances: dict[tuple[str, str], int] = collections.defaultdict(int)
        self._definitions: dict[int, slots.Game] = {}  # by the index of game.enabled
        self._games: dict[str, Enabled] = {}
        self._releases: dict[tuple[str, str], str] = {}  # the maths of a game's release
        self._round_numbers: dict[tuple[str, str], int] = collections.defaultdict(int)
        self._epochs: list[Epoch] = []  # epoch n is at n-1
        self._playing = self._ahead = self._halted = 0  # epochs: in use, next, to be decided about; 0 is none
        self._closed = self._revealed = 0  # the latest
        self._ended = 0  # epochs that came into use and are over
        self._abandoned: list[tuple[int, int, int]] = []  # epochs, with their entries and rounds
        self._secrets: set[bytes] = set()
        self._officers: dict[str, Officer] = {}
        self._origin = ""
        self._ring: list[Key] = []
        self._lineage: list[Key] = []  # of checkpoints, as one signs for the next
        self.unread = False  # an entry is of a type that is not known
        self._sources = Sources()
        self._failures: collections.Counter[str] = collections.Counter()  # by source
        self._watched: dict[str, Watched] = {}
        self._monitors: dict[str, monitor.Monitor] = {}
        self._blob = blob
        self._boxes = boxes
        self._opened: dict[int, bytes] = {}  # secrets, by epoch
        self.escrowed: dict[int, escrow.Box] = {}  # what the house escrowed, by epoch
        self._laboratories: dict[str, str] = {}
        self._certificates: dict[tuple[str, str, str], list[tuple[int, int, str]]] = {}
        self._software = Software()
        self._production = self._looks = False

    @property
    def erased(self) -> set[str]:
        """The players who were erased."""
        return {reference for reference, player in self._players.items() if player.state == "erased"}

    @property
    def rounds_unproven(self) -> int:
        """Rounds whose epoch's secret is not out yet."""
        return sum(epoch.draws for epoch in self._epochs[self._revealed :] if not epoch.abandoned and not epoch.proven)

    @property
    def rounds_unprovable(self) -> int:
        """Rounds whose epoch's secret will never be out."""
        return sum(rounds for n, _, rounds in self._abandoned if not self._epochs[n - 1].proven)

    @property
    def epochs(self) -> dict[str, int]:
        counts = {"committed": len(self._epochs), "closed": self._ended, "revealed": self.epochs_revealed}
        counts |= {"one_source": self._one_source, "abandoned": len(self._abandoned)}
        return counts | ({"opened": self.epochs_opened} if self.epochs_opened else {})

    def take(self, leaf: bytes, root_before: Callable[[], bytes]) -> None:
        """Takes the next entry; root_before gives the root of the log before it."""
        self._follow(leaf)
        if self.stopped:
            self.size += 1
            return
        try:
            self._take(leaf, root_before)
        except _Stop:
            self.stopped = True
            self.unchecked.append(f"the rules from entry {self.size} on, which breaks one that others stand on")
        except records.UnknownType as err:
            self.stopped = self.unread = True
            self.unchecked.append(f"the rules from entry {self.size} on, which is of an unknown type {err}")
        self.size += 1

    def finish(self) -> None:
        """Proves what others opened, and looks for what should have come and did not."""
        self._prove_opened()
        for n in range(self._revealed + 1, self._closed + 1):
            if not self._epochs[n - 1].abandoned and not self._epochs[n - 1].proven and self._late(n, "has not come out"):
                self.unchecked.append(f"the draws of epoch {n}, whose secret is kept back")
        for n, index, rounds in self._abandoned:
            if rounds and not self._epochs[n - 1].proven:
                self.unchecked.append(f"UNPROVABLE: {rounds} rounds of epoch {n}, abandoned in entry {index}")
        if self._halted and not self.stopped:
            self.warnings.append(f"epoch {self._halted} is halted, and with it all play")
        if self._differs and not self.stopped:
            self._expect(False, "displayed-alarm", self._differs)
        if self.shown_otherwise:
            self.warnings.append(f"clients displayed another result than the log has {self.shown_otherwise} times")
        for name, watching in self._monitors.items():
            if watching.owed and watching.owed[0].entry["type"] == "chance.alarmed":
                self.warnings.append(f"game {name}: an alarm of its monitors is not in the log yet")
        if self.rounds_unplayed:
            self.unchecked.append(f"{self.rounds_unplayed} rounds of games that cannot be played")

    def _expect(self, holds: bool, rule: str, expected: str) -> None:
        """Holds a rule by which no later entry is judged."""
        if not holds:
            self.findings.append(Finding(self.size, rule, expected))

    def _demand(self, holds: bool, rule: str, expected: str) -> None:
        """Holds a rule of the books."""
        self._expect(holds, rule, expected)
        if not holds:
            raise _Stop

    def _take(self, leaf: bytes, root_before: Callable[[], bytes]) -> None:
        try:
            entry = records.read(leaf)
        except canonical.NotCanonical as err:
            self._expect(False, "canonical", str(err))
            raise _Stop from err
        at = microseconds(entry["at"])
        self._header(entry, at)
        match entry["type"]:
            case "game.enabled":
                self._definition(entry)
            case "round.settled":
                self._play(entry)
        self._cause(entry)
        self._answer(entry)
        writer = entry["type"] in ("house.active", "house.active.v2")
        self._expect(self.size != 1 or writer, "active-first", "house.active as entry 1")
        match entry["type"]:
            case "house.created" if self.size == 0:
                self._house(entry)
            case "house.active" | "house.active.v2":
                self._head(entry, root_before)
            case "house.restored":
                self._restore(entry)
            case "alarm.raised":
                self._alarm(entry)
            case "round.displayed":
                self._seen(entry)
            case "seed.committed":
                self._signature(entry, "countroom/seed-statement/v1")
            case "seed.committed.v2":
                self._signature(entry, "countroom/seed-statement/v2")
                self._outside(entry, at)
            case "seed.activated.v2":
                self._came(entry, at)
            case "rng.assessed":
                self._assessment(entry)
            case "game.certified":
                self._certificate(entry)
            case "software.verified":
                node = self._active.get("node", entry["node"])
                self._expect(entry["node"] == node, "software-node", node)
        first = entry["type"] == "house.created"
        self._demand(first == (self.size == 0), "house-created-first", "house.created as entry 0 and nowhere else")
        fold = getattr(self, "_" + entry["type"].replace(".", "_").replace("-", "_"))
        fold(entry, at)
        self._look(entry, at)
        for epoch in self._epochs[self._revealed : self._closed]:
            if epoch.overdue is None and at >= epoch.closed + epoch.delay:
                epoch.overdue = at

    # Rules of what an entry says of itself, and of what stands beside the books

    def _header(self, entry: dict, at: int) -> None:
        self._expect(at >= self._at, "time", "not before an earlier entry")
        self._expect(entry["id"] not in self._ids, "id-unique", "an id of its own")
        key = entry.get("key", "")[:32]
        self._expect(key == "" or key not in self._keys, "request-key-unique", "a key of its own")
        self._at = max(at, self._at)
        self._ids.add(entry["id"])
        self._keys.add(key)

    def _definition(self, entry: dict) -> None:
        self._expect(entry["engine"] == "slots", "game-engine", "slots")
        if entry["engine"] != "slots":
            return
        try:
            definition = canonical.read_any(entry["definition"])
            game = slots.Game(definition)
        except (canonical.NotCanonical, slots.NotPlayable) as err:
            self._expect(False, "game-definition", str(err))
            return
        self._expect(canonical.write(definition) == entry["definition"], "canonical", "the definition's canonical form")
        identity = entry["game"], entry["release"]
        self._expect(identity == (game.id, game.version), "game-identity", f"{game.id} {game.version}")
        draws = game.draws_most()
        self._expect(draws <= DRAWN_MOST, "game-draws", f"at most {DRAWN_MOST}")
        if draws > DRAWN_MOST:
            return
        leaf_most = game.leaf_most()
        self._expect(entry["leaf_max"] == leaf_most <= canonical.ENTRY_MOST, "leaf-max", str(leaf_most))
        self._expect(entry["payout_max"] == game.payout_most(), "payout-max", str(game.payout_most()))
        self._definitions[self.size] = game

    def _play(self, entry: dict) -> None:
        """The round again, from its draw value."""
        game, stake = self._definitions.get(entry["enabled"]), entry["stake"]["amount"]
        if game is None:
            self.rounds_unplayed += 1
            return
        self._expect(stake in game.stakes, "stake", f"one of the stakes {game.stakes}")
        if stake not in game.stakes:
            return
        values, outcome, payout = game.play(bytes.fromhex(entry["draw"]["r"]), stake)
        self._expect(entry["draw"]["values"] == values, "draw-values", str(values))
        written = canonical.write(outcome)
        self._expect(entry["outcome"] == written, "outcome", written.decode())
        self._expect(entry["payout"]["amount"] == payout, "payout", str(payout))
        balance = next((line["balance"] for line in entry["postings"] if line["account"].startswith("player/")), 0)
        shown = {"balance": balance, "currency": entry["stake"]["currency"], "payout": payout, "round": entry["id"]}
        shown |= {"screens": game.screens(values), "stake": stake, "tag": "countroom/displayed/v1"}
        digest = hashlib.sha256(canonical.write(shown)).hexdigest()
        self._to_be_seen.add((entry["id"], entry["player"], digest))

    def _cause(self, entry: dict) -> None:
        kind, actor = entry["type"], entry["actor"]
        by = "house" if kind in records.OF_THE_HOUSE else "operator"
        if kind in ("round.settled", "round.displayed", "player.nonce-set"):
            by = actor if actor.startswith("session/") else "session/<uuid>"
        if entry.get("approvals"):
            by = f"officer/{entry['approvals'][0]['officer']}"
        first_start = self._active.get("size") == 1 and entry.get("game") not in self._games
        if kind == "game.enabled" and actor == "house" and first_start:
            by = "house"
        self._expect(actor == by, "actor", by)
        asked = "key" in entry
        self._expect(asked == (by != "house"), "request", "a request" if by != "house" else "no request")

    def _house(self, entry: dict) -> None:
        keys = entry["keys"]
        self._expect(entry["origin"] == self._key.name, "origin", self._key.name)
        self._keys_in_order(keys)
        public = {key["role"]: key["public"] for key in reversed(keys)}
        self._seeds_key = p256.key_of_hex(public.get("seeds", ""))
        self._expect(self._seeds_key is not None, "seeds-key", "a P-256 key of role seeds")

    def _keys_in_order(self, keys: list[dict]) -> None:
        left = ["checkpoint", "seeds", "exports"]
        for key in keys:
            self._expect(key["role"] in left, "house-keys", "checkpoint, seeds, exports in order, each at most once")
            if key["role"] not in left:
                return
            left = left[left.index(key["role"]) + 1 :]
            algorithm = "ed25519" if key["role"] == "checkpoint" else "ecdsa-p256"
            self._expect(key["algorithm"] == algorithm, "house-keys", algorithm)
            readable = key["role"] != "exports" or p256.key_of_hex(key["public"]) is not None
            self._expect(readable, "house-keys", "a P-256 key")

    def _head(self, entry: dict, root_before: Callable[[], bytes]) -> None:
        last, self._active = self._active, entry
        root = "0" * 64 if self.size <= 1 else root_before().hex()
        self._expect(entry["root"] == root or entry["size"] != self.size, "active-root", root)
        reasons = ["created"] if self.size == 1 else ["start"]
        of_one_pair = entry["type"] == last.get("type") == "house.active.v2"
        if self.size != 1 and of_one_pair and entry["node"] != last["node"]:
            reasons = ["takeover", "switchover"]
        self._expect(entry["reason"] in reasons, "active-reason", " or ".join(reasons))

    def _restore(self, entry: dict) -> None:
        follows = self._active.get("size") == self.size - 1
        self._expect(follows, "restored-first", "a house.active as the entry before")
        if not follows:
            return
        self._expect(entry["root"] == self._active["root"], "restored-root", self._active["root"])
        self.restores.append(Restore(self.size - 1, self.size))
        lost = f", and {entry['signed']} entries had been signed" if entry["signed"] > entry["size"] else ""
        self.warnings.append(f"entry {self.size}: restored from a back-up of {entry['size']} entries{lost}")

    def _alarm(self, entry: dict) -> None:
        if entry["alarm"] == "external-missing":
            self._missing(entry)
            return
        if entry["alarm"] == "displayed-mismatch":
            return  # held as the answer to a claim
        if entry["alarm"] == "software-mismatch":
            self._expect(self._mismatch == (self.size - 1, entry["about"]), "alarm-about", "the program that was found the entry before")
            self._expect(entry["count"] == 1, "alarm-count", "1")
            return
        if entry["alarm"] != "request-key-reused":
            self.unchecked.append(f"entry {self.size}, an unknown alarm {entry['alarm']}")
            return
        self._expect(entry["about"][:32] in self._keys, "alarm-about", "the key of an earlier entry")
        self._expect(entry["count"] >= 1, "alarm-count", "1 or more")

    def _seen(self, entry: dict) -> None:
        """A claim of what a player saw."""
        claim = entry["round"], entry["player"], entry["expected"]
        known = self.rounds_unplayed > 0 or claim in self._to_be_seen
        self._expect(known, "displayed-expected", "what was to be seen of an earlier round of this player")
        if entry["displayed"] != entry["expected"]:
            self._differs = entry["displayed"]
            self.shown_otherwise += 1

    def _answer(self, entry: dict) -> None:
        """The alarm after a claim that differs."""
        claim, self._differs = self._differs, ""
        alarm = entry["type"] == "alarm.raised" and entry["alarm"] == "displayed-mismatch"
        told = alarm and (entry["about"], entry["count"]) == (claim, 1)
        self._expect(told if alarm or claim else True, "displayed-alarm", claim or "no such alarm")

    def _missing(self, entry: dict) -> None:
        self._alarmed = self.size, entry["about"]
        about = self._epochs[self._ahead - 1].commitment.hex() if self._ahead else ""
        self._expect(entry["about"] == about, "alarm-about", about or "no such alarm")
        self._expect(entry["count"] == 1, "alarm-count", "1")

    def _outside(self, entry: dict, at: int) -> None:
        """What a commitment says of the world outside."""
        before = self._announced.get("policy", "none")
        if entry["policy"] == "none" != before:
            self.warnings.append(f"entry {self.size}: nothing from outside is asked for, and {before} before")
        self._announced, self._chain = entry, None
        if "beacon" in entry:
            self._announced_beacon(entry["beacon"], at)
        last = ""
        for nonce in entry.get("nonces", []):
            self._expect(last < nonce["witness"], "witness-order", f"a name after {last}")
            last = nonce["witness"]
            statement = {"commitment": nonce["commitment"], "epoch": entry["epoch"], "witness": nonce["witness"]}
            statement |= {"origin": self._key.name, "tag": "countroom/nonce-statement/v1"}
            key, signature = bytes.fromhex(nonce["key"]), bytes.fromhex(nonce["signature"])
            good = ed25519.verify(key, canonical.write(statement), signature)
            self._expect(good, "witness-signature", f"a signature by the key of {nonce['witness']}")

    def _announced_beacon(self, told: dict, at: int) -> None:
        try:
            chain = beacon.Chain(told)
        except ValueError as err:
            self._expect(False, "beacon-chain", str(err))
            return
        self._expect(told["chain"] == chain.hash.hex(), "beacon-chain", chain.hash.hex())
        if told["chain"] != chain.hash.hex():
            return
        first, last = chain.after(at), chain.after(at + BEACON_AHEAD)
        self._expect(first <= told["round"] <= last, "beacon-round", f"a round from {first} to {last}")
        if first <= told["round"] <= last:
            self._chain = chain

    def _came(self, entry: dict, at: int) -> None:
        """What came from outside, held against what was announced."""
        announced, origin, n = self._announced, self._key.name, entry["epoch"]
        if announced.get("epoch") != n:
            return
        signature = bytes.fromhex(entry.get("signature", ""))
        if entry["policy"] == "beacon" and "beacon" in announced and len(signature) == beacon.SIGNATURE_SIZE:
            told, chain = announced["beacon"], self._chain
            if chain is not None:
                self._expect(at >= chain.at(told["round"]), "beacon-early", "not before the round is published")
                good = chain.verify(told["round"], signature)
                self._expect(good, "beacon-signature", f"the signature of round {told['round']}")
            external = chance.beacon_external(origin, n, bytes.fromhex(told["chain"]), told["round"], signature)
        elif entry["policy"] == "witness" and "nonces" in announced:
            shown = [(nonce["witness"], bytes.fromhex(nonce["nonce"])) for nonce in entry.get("nonces", [])]
            several = len(shown) == len(announced["nonces"])
            self._expect(several, "witness-nonce", "one nonce of each witness")
            if not several:
                return
            for (witness, nonce), told in zip(shown, announced["nonces"]):
                opens = chance.nonce_commitment(origin, n, witness, nonce).hex() == told["commitment"]
                self._expect(opens and witness == told["witness"], "witness-nonce", f"that of {told['witness']}")
            external = chance.witness_external(origin, n, shown)
        elif entry["policy"] == "none" != announced["policy"]:
            told = self._alarmed == (self.size - 1, announced["commitment"])
            self._expect(told, "downgrade-alarm", "an alarm as the entry before")
            self.warnings.append(f"entry {self.size}: epoch {n} was downgraded from {announced['policy']} to none")
            return
        else:
            return
        self._expect(entry["external"] == external.hex(), "epoch-external", external.hex())

    def _signature(self, entry: dict, tag: str) -> None:
        if self._seeds_key is None:
            return
        statement = {name: value for name, value in entry.items() if name not in records.HEADER and name != "signature"}
        statement |= {"origin": self._key.name, "tag": tag}
        good = p256.verify(self._seeds_key, canonical.write(statement), bytes.fromhex(entry["signature"]))
        self._expect(good, "seed-signature", "a signature by the seeds key")

    def _published(self, digest: str) -> bytes | None:
        """A blob, if it can be had and is the one that its name says."""
        data = self._blob(f"blob/{digest}")
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            self.unchecked.append(f"entry {self.size}, whose blob {digest} could not be had")
            return None
        return data

    def _assessment(self, entry: dict) -> None:
        bundle, now = self._published(entry["bundle"]), self._in_force("exports")
        verify = statements.key(now[-1].public) if now else None
        if bundle is not None:
            wanted = statements.assessment(entry, self._key.name)
            good = verify is not None and statements.payload(bundle, verify) == wanted
            self._expect(good, "assessment-statement", f"signed by the exports key: {wanted.decode()}")
        report = self._published(entry["report"])
        if report is not None:
            good = statements.says(report, entry, self._key.name)
            self._expect(good, "assessment-report", "a report that says what the entry says")

    def _certificate(self, entry: dict) -> None:
        public = self._laboratories.get(entry["laboratory"])
        signed = self._published(entry["certificate"]) if public is not None else None
        if public is None or signed is None:
            return
        wanted, verify = statements.certificate(entry), statements.key(public)
        good = verify is not None and statements.payload(signed, verify) == wanted
        self._expect(good, "certificate-statement", f"signed by {entry['laboratory']}: {wanted.decode()}")

    def _look(self, entry: dict, at: int) -> None:
        """Warns of a house that does not look at its program, or does not like what it sees."""
        software = self._software
        if entry["type"] in ("house.active", "house.active.v2"):
            software.since = at
            return
        if self._looks and not software.told and at > software.since + SELF_CHECK_LATE:
            software.told = True
            self.warnings.append(f"entry {self.size}: the house has not looked at its program for too long")
        if entry["type"] == "house.production":
            self._looks = True
        if entry["type"] == "software.verified":
            self._looks, software.since, software.told = True, at, False
            if not entry["matches"]:
                self._mismatch = self.size, entry["code"]
                self.warnings.append(f"entry {self.size}: what runs is not what should")

    def _earnest(self, game: str, maths: str, at: int) -> None:
        """Demands what play in production needs."""
        if not self._production:
            return
        self._demand(self._software.matches, "software-verified", "a software.verified that matches")
        periods = self._certificates.get((game, maths, self._software.running), [])
        valid = self._software.running and any(begins <= at < expires for begins, expires, _ in periods)
        self._demand(bool(valid), "certified", "a certificate in force")

    # Rules of the books, a method for each type

    def _house_created(self, entry: dict, at: int) -> None:
        self._demand(entry["format"] == 1, "format", "1")
        self._origin = entry["origin"]
        self._ring = [Key(key["role"], key["algorithm"], key["public"], 0) for key in entry["keys"]]

    def _another_process(self, entry: dict) -> None:
        self._term = entry["term"]
        for failure in self._sources.out.values():
            failure.said = False
        self._sources = Sources(out=self._sources.out)

    def _house_active(self, entry: dict, at: int) -> None:
        self._demand(entry["size"] == self.size, "active-head", f"size {self.size}")
        self._demand(entry["term"] == self._term + 1, "term", str(self._term + 1))
        self._another_process(entry)
        self._started(entry["release"])

    def _started(self, release: str) -> None:
        """Takes note of a new process, which has not looked at itself yet."""
        named = release.partition(" sha256:")[2]
        known = canonical.hexadecimal(16)(named) and named.strip("0")
        self._software = Software(named if known else "")

    def _house_active_v2(self, entry: dict, at: int) -> None:
        self._demand(entry["size"] == self.size, "active-head", f"size {self.size}")
        self._demand(entry["term"] > self._term, "term", f"above {self._term}")
        names = [member["name"].encode() for member in entry["members"]]
        roles = [member["role"] for member in entry["members"]]
        good = all(a < b for a, b in zip(names, names[1:])) and all(role in ("machine", "arbiter") for role in roles)
        good = good and {"name": entry["node"], "role": "machine"} in entry["members"]
        self._demand(good, "active-member", "members by name, and the node one of the machines")
        self._another_process(entry)
        self._started(entry["release"])

    def _house_restored(self, entry: dict, at: int) -> None:
        self._demand(entry["size"] == self.size - 1, "restored-head", f"size {self.size - 1}")
        self._demand(entry["signed"] >= entry["size"], "restored-signed", f"{entry['size']} or more")

    def _clock_stepped(self, entry: dict, at: int) -> None:
        pass

    def _alarm_raised(self, entry: dict, at: int) -> None:
        pass

    def _player_created(self, entry: dict, at: int) -> None:
        self._demand(entry["player"] not in self._players, "player-once", "a new reference")
        self._players[entry["player"]] = Player(entry["currency"])

    def _player_state_changed(self, entry: dict, at: int) -> None:
        player, new = self._players.get(entry["player"]), entry["state"]
        self._demand(
            player is not None
            and player.state in ("open", "suspended")
            and new in ("open", "suspended", "closed")
            and new != player.state,
            "player-state",
            "a change that the account's state allows",
        )
        self._players[entry["player"]].state = new

    def _player_nonce_set(self, entry: dict, at: int) -> None:
        kind, _, uuid = entry["actor"].partition("/")
        session = self._sessions.get(uuid) if kind == "session" else None
        live = session is not None and not session.closed and at < session.expires
        own = live and session.player == entry["player"]
        self._demand(own, "nonce-session", "an open session of this player")
        self._demand(self._players[entry["player"]].state == "open", "player-state", "an open account")
        n = len(self._epochs) + 1
        self._demand(entry["epoch"] == n, "nonce-epoch", str(n))
        self._nonces[entry["player"]].append((n, bytes.fromhex(entry["nonce"])))

    def _round_displayed(self, entry: dict, at: int) -> None:
        kind, _, uuid = entry["actor"].partition("/")
        session = self._sessions.get(uuid) if kind == "session" else None
        live = session is not None and not session.closed and at < session.expires
        own = live and session.player == entry["player"]
        self._demand(own, "displayed-session", "an open session of this player")
        self._present(entry["player"])

    def _nonce(self, player: str, n: int) -> bytes:
        """A player's standing nonce in an epoch."""
        counting = [nonce for first, nonce in self._nonces.get(player, []) if first <= n]
        return counting[-1] if counting else b""

    def _session_opened(self, entry: dict, at: int) -> None:
        self._game(entry["game"], "session-game")
        player = self._players.get(entry["player"])
        self._demand(player is not None and player.state == "open", "session-player", "an open account")
        expires = microseconds(entry["expires"])
        self._demand(at < expires <= at + SESSION_MOST, "session-expiry", "after the opening, by at most 30 days")
        self._sessions[entry["id"]] = Session(entry["player"], entry["game"], expires)

    def _session_closed(self, entry: dict, at: int) -> None:
        session = self._sessions.get(entry["session"])
        own = session is not None and session.player == entry["player"] and not session.closed
        self._demand(own, "session-open", "a session of this player that was not closed")
        self._present(entry["player"])
        self._sessions[entry["session"]].closed = True

    def _present(self, reference: str) -> Player:
        """Demands a player who is not erased."""
        player = self._players.get(reference)
        self._demand(player is not None and player.state != "erased", "player-state", "an account that is not erased")
        return player

    def _subject_recorded(self, entry: dict, at: int) -> None:
        player = self._present(entry["player"])
        names = [attribute["name"] for attribute in entry["attributes"]]
        formed = all(re.fullmatch("[a-z][a-z0-9-]{0,31}", name) for name in names)
        rising = all(a < b for a, b in zip(names, names[1:]))
        self._demand(len(names) > 0 and formed and rising, "subject-attribute", "attributes in order, each once")
        for attribute in entry["attributes"]:
            was = player.attributes.get(attribute["name"])
            self._demand(attribute["commitment"] != was, "subject-commitment", f"another commitment than {was}")
        most = len(player.attributes.keys() | set(names)) <= ATTRIBUTES_MOST
        self._demand(most, "subject-most", str(ATTRIBUTES_MOST))
        player.attributes |= {attribute["name"]: attribute["commitment"] for attribute in entry["attributes"]}
        player.commitments += len(names)
        for attribute in entry["attributes"]:
            self.commitments[entry["player"], self.size, attribute["name"]] = attribute["commitment"]

    def _subject_erased(self, entry: dict, at: int) -> None:
        player = self._present(entry["player"])
        self._demand(player.state == "closed", "player-state", "an account that is closed")
        left = self._balances[f"player/{entry['player']}/cash", player.currency]
        self._demand(left == 0, "subject-money", "an account that holds nothing")
        self._demand(entry["commitments"] == player.commitments, "subject-commitments", str(player.commitments))
        self._approved(entry, f"player {entry['player']} commitments {entry['commitments']}")
        player.state = "erased"

    def _vault_rewrapped(self, entry: dict, at: int) -> None:
        self._demand(entry["period"] == self._period + 1, "vault-period", str(self._period + 1))
        known = sum(player.state != "erased" for player in self._players.values())
        self._demand(entry["subjects"] <= known, "vault-subjects", f"{known} at most")
        self._period = entry["period"]
        if entry["subjects"] < known:
            told = f"the keys of {entry['subjects']} of {known} subjects"
            self.warnings.append(f"entry {self.size}: period {entry['period']} of the vault has {told}")

    def _wallet_deposited(self, entry: dict, at: int) -> None:
        self._move(entry, "deposits", ("open",), "house/cashier", f"player/{entry['player']}/cash")

    def _wallet_withdrawn(self, entry: dict, at: int) -> None:
        self._move(entry, "withdrawals", ("open", "closed"), f"player/{entry['player']}/cash", "house/cashier")

    def _move(self, entry: dict, kind: str, states: tuple[str, ...], source: str, target: str) -> None:
        amount, currency = entry["amount"]["amount"], entry["amount"]["currency"]
        self._holder(entry["player"], currency, states)
        self._demand(amount > 0, "amount", "a positive amount")
        self._post(entry["postings"], source, target, amount, currency)
        self._total(currency, **{kind: amount})

    def _holder(self, reference: str, currency: str, states: tuple[str, ...]) -> None:
        """Demands an account in one of the states, and in this currency."""
        player = self._players.get(reference)
        known = player is not None and player.state in states
        self._demand(known, "player-state", f"an account that is {' or '.join(states)}")
        own = self._players[reference].currency
        self._demand(own == currency, "player-currency", own)

    def _post(self, postings: list[dict], source: str, target: str, amount: int, currency: str) -> None:
        """Demands and makes the postings by which the amount goes from one account to another."""
        sums = collections.Counter[str]()
        for posting in postings:
            sums[posting["currency"]] += posting["amount"]
            in_range = abs(sums[posting["currency"]]) <= INTEGER_MOST
            self._demand(in_range, "postings-balanced", "sums within 2^53-1")
        self._demand(not any(sums.values()), "postings-balanced", "sums of zero")
        self._demand(len(postings) == 2, "postings", "two")
        for posting, account, change in zip(postings, (source, target), (-amount, amount)):
            balance = self._balances[account, currency] + change
            least = 0 if account.startswith("player/") else -INTEGER_MOST
            self._demand(least <= balance <= INTEGER_MOST, "funds", f"{account} at {least} or more")
            named = posting["account"], posting["currency"]
            self._demand(named == (account, currency), "postings", f"{account} in {currency}")
            self._demand(posting["amount"] == change, "posting-amount", str(change))
            self._demand(posting["balance"] == balance, "balance", str(balance))
            self._balances[account, currency] = balance

    def _total(self, currency: str, **amounts: int) -> None:
        self.totals.setdefault(currency, collections.Counter()).update(amounts)

    def _game(self, name: str, rule: str) -> Enabled:
        """Demands a game that is enabled."""
        game = self._games.get(name, Enabled(0, on=False))
        self._demand(game.on, rule, "an enabled game")
        return game

    def _game_enabled(self, entry: dict, at: int) -> None:
        before = self._games.get(entry["game"])
        self._demand(before is None or not before.on, "game-state", "a game that is not enabled")
        digest = hashlib.sha256(entry["definition"]).hexdigest()
        self._demand(entry["maths"] == digest, "game-maths", digest)
        was = self._releases.setdefault((entry["game"], entry["release"]), digest)
        self._demand(was == digest, "game-release", f"{was}, as it was enabled before")
        self._demand(before is not None or len(self._games) < GAMES_MOST, "games-most", f"at most {GAMES_MOST} games")
        self._earnest(entry["game"], digest, at)
        self._games[entry["game"]] = Enabled(self.size, digest)
        if entry["game"] not in self._watched or self._watched[entry["game"]].maths != digest:
            self._watched[entry["game"]] = Watched(digest, self.size)
        watching = self._monitors.get(entry["game"])
        if self.size in self._definitions and (watching is None or watching.maths != digest):
            definition = canonical.read_any(entry["definition"])
            symbols = [symbol["name"] for symbol in definition["symbols"]]
            self._monitors[entry["game"]] = monitor.Monitor(entry["game"], digest, definition["strips"], symbols)

    def _release(self, entry: dict) -> Watched:
        """Demands the release of a game that is watched."""
        watched = self._watched.get(entry["game"])
        own = watched is not None and watched.maths == entry["maths"]
        self._demand(own, "chance-game", "the maths that the game was enabled with last")
        return watched

    def _chance_alarmed(self, entry: dict, at: int) -> None:
        self._release(entry)
        if entry["suspended"]:
            self._game(entry["game"], "game-state").on = False
        self._owed(entry, "chance-alarm")

    def _chance_observed(self, entry: dict, at: int) -> None:
        watched = self._release(entry)
        rounds = watched.rounds + monitor.OBSERVED
        self._demand(entry["rounds"] == rounds, "chance-observed", f"{rounds} rounds")
        later = max(watched.since, watched.through) < entry["through"] < self.size
        self._demand(later, "chance-observed", "a round that was not counted before")
        watched.rounds, watched.through = entry["rounds"], entry["through"]
        self._owed(entry, "chance-observed")

    def _owed(self, entry: dict, rule: str) -> None:
        watching = self._monitors.get(entry["game"])
        self._expect(watching is not None and watching.take(entry), rule, "what is owed next about the game")

    def _game_disabled(self, entry: dict, at: int) -> None:
        self._game(entry["game"], "game-state").on = False

    def _round_settled(self, entry: dict, at: int) -> None:
        reference, name, draw = entry["player"], entry["game"], entry["draw"]
        stake, payout, currency = entry["stake"]["amount"], entry["payout"]["amount"], entry["stake"]["currency"]
        self._in_session(entry, at)
        self._holder(reference, currency, ("open",))
        sources = self._sources
        self._demand(sources.groups >= sources.minimum, "entropy-stopped", "enough sources of entropy in order")
        self._idle()
        self._demand(self._playing != 0 and draw["epoch"] == self._playing, "draw-epoch", "the active epoch")
        epoch = self._epochs[self._playing - 1]
        self._demand(draw["number"] == epoch.draws + 1, "draw-number", str(epoch.draws + 1))
        self._demand(epoch.reached(at) == "", "epoch-over", "an epoch within its limits")
        enabled = self._game(name, "game-enabled")
        self._demand(entry["enabled"] == enabled.index, "game-definition", f"that of entry {enabled.index}")
        n = self._round_numbers[reference, name] + 1
        self._demand(draw["n"] == n, "round-number", str(n))
        self._demand(draw["step"] == 0, "round-step", "0")
        whole = stake > 0 and payout >= 0 and currency == entry["payout"]["currency"]
        self._demand(whole, "stake-and-payout", "a positive stake, no negative payout, one currency")
        self._earnest(name, enabled.maths, at)
        cash = f"player/{reference}/cash"
        self._demand(self._balances[cash, currency] >= stake, "funds", "a balance that covers the stake")
        self._post(entry["postings"], f"house/games/{name}", cash, payout - stake, currency)
        self._round_numbers[reference, name] = n
        epoch.draws += 1
        if entry["enabled"] in self._definitions:
            game = self._definitions[entry["enabled"]]
            epoch.to_prove.append(Draw(self.size, game, reference, n, draw["r"]))
        self.rounds += 1
        self._total(currency, rounds=1, stakes=stake, payouts=payout)
        if name in self._monitors:
            self._monitors[name].round(self.size, draw["values"], payout, stake)
            self._expect(not self._monitors[name].late(), "chance-late", "what is owed about the game")

    def _in_session(self, entry: dict, at: int) -> None:
        kind, _, uuid = entry["actor"].partition("/")
        session = self._sessions.get(uuid) if kind == "session" else None
        self._demand(
            session is not None
            and not session.closed
            and at < session.expires
            and (session.player, session.game) == (entry["player"], entry["game"]),
            "round-session",
            "an open session of this player at this game",
        )

    def _approved(self, entry: dict, subject: str) -> None:
        """Demands the approvals of two officers."""
        approvals = entry["approvals"]
        names = [approval["officer"] for approval in approvals]
        self._demand(len(names) == 2 and names[0] < names[1], "approvals", "two different officers, sorted")
        statement = {"action": entry["type"], "origin": self._origin, "subject": subject, "tag": APPROVAL}
        message = canonical.write(statement)
        for approval in approvals:
            officer = self._officers.get(approval["officer"])
            self._demand(officer is not None and not officer.retired, "approvals", "an enrolled officer")
            good = officer.signed(message, bytes.fromhex(approval["signature"]))
            self._demand(good, "approvals", f"{approval['officer']} over {message.decode()}")

    def _follow(self, leaf: bytes) -> None:
        """Goes from one checkpoint key to the next, by their signatures alone, whatever else is wrong."""
        try:
            entry = records.read(leaf)
        except (canonical.NotCanonical, records.UnknownType):
            return
        if entry["type"] == "house.created" and self.size == 0:
            checkpoint = [key for key in entry["keys"] if key["role"] == "checkpoint"]
            self._lineage = [Key("checkpoint", key["algorithm"], key["public"], 0) for key in checkpoint]
        now = [key for key in self._lineage if key.retired == 0]
        if entry["type"] == "key.introduced" and entry["role"] == "checkpoint":
            new = Key("checkpoint", entry["algorithm"], entry["public"], self.size)
            known = any(key.public == new.public for key in self._lineage)
            if not known and any(cross_signed(entry, self._key.name, old, new) for old in now):
                self._lineage.append(new)
        if entry["type"] == "key.retired" and entry["role"] == "checkpoint" and len(now) > 1:
            for key in now:
                if key.public == entry["public"]:
                    key.retired = self.size

    def checkpoint_keys(self, size: int | None = None) -> list[str]:
        """The verifier keys that the log leads to: all, or those in force at a size."""
        keys = [key for key in self._lineage if key.readable(self._key.name)]
        return [key.public for key in keys if size is None or key.in_force(size)]

    def _in_force(self, role: str) -> list[Key]:
        return [key for key in self._ring if key.role == role and key.retired == 0]

    def _key_introduced(self, entry: dict, at: int) -> None:
        new, now = Key(entry["role"], entry["algorithm"], entry["public"], self.size), self._in_force(entry["role"])
        self._demand(len(now) == 1, "key-exchange", "one key of the role in force")
        known = any(key.public == new.public for key in self._ring)
        fits = new.algorithm == now[0].algorithm and new.readable(self._origin) and not known
        self._demand(fits, "key-new", "a key that the log never had, as the role has")
        self._demand(len(self._ring) < KEYS_MOST, "keys-most", str(KEYS_MOST))
        self._demand(cross_signed(entry, self._origin, now[0], new), "key-statement", "signatures of both keys")
        self._approved(entry, f"{new.role} {new.algorithm} {entry['assurance']} {new.public}")
        self._ring.append(new)
        self._seeds()

    def _key_retired(self, entry: dict, at: int) -> None:
        now = self._in_force(entry["role"])
        one = [key for key in now if key.public == entry["public"]]
        self._demand(len(now) == 2 and len(one) > 0, "key-retired", "one of two keys in force")
        self._approved(entry, f"{entry['role']} {entry['public']} reason {entry['reason']}")
        one[0].retired = self.size
        self._seeds()

    def _seeds(self) -> None:
        """The key that signs seeds from here on."""
        now = self._in_force("seeds")
        if now:
            self._seeds_key = p256.key_of_hex(now[-1].public)

    def _officer_enrolled(self, entry: dict, at: int) -> None:
        name, officer = entry["officer"], Officer(entry["algorithm"], bytes.fromhex(entry["public"]))
        self._demand(re.fullmatch("[a-z][a-z0-9-]{0,31}", name) is not None, "officer-name", "a name")
        self._demand(name not in self._officers, "officer-once", "a new name")
        known = any(officer.public == other.public for other in self._officers.values())
        self._demand(officer.readable() and not known, "officer-key", "a new public key of its algorithm")
        self._demand(len(self._officers) < OFFICERS_MOST, "officers-most", str(OFFICERS_MOST))
        if len(self._officers) < 2:
            self._demand(not entry["approvals"], "approvals", "none for the first two")
        else:
            self._approved(entry, f"{name} {entry['algorithm']} {entry['public']}")
        self._officers[name] = officer

    def _officer_retired(self, entry: dict, at: int) -> None:
        officer = self._officers.get(entry["officer"])
        self._demand(officer is not None and not officer.retired, "officer-serving", "an enrolled officer")
        serving = sum(not other.retired for other in self._officers.values())
        self._demand(serving > 2, "officers-least", "two afterwards")
        self._approved(entry, entry["officer"])
        officer.retired = True

    def _rng_assessed(self, entry: dict, at: int) -> None:
        self._demand(entry["outcome"] in ("pass", "fail"), "assessment-outcome", "pass or fail")
        for game in entry["games"]:
            maths = self._releases.get((game["game"], game["release"]))
            self._demand(maths == game["maths"], "assessment-game", "a release that was enabled, with its maths")

    def _laboratory_recognised(self, entry: dict, at: int) -> None:
        name, public = entry["laboratory"], entry["public"]
        self._demand(name not in self._laboratories, "laboratory-once", "a new laboratory")
        self._demand(statements.key(public) is not None, "laboratory-key", "a P-256 or Ed25519 key")
        if len(self._officers) < 2:
            self._demand(not entry["approvals"], "approvals", "none before there are two officers")
        else:
            self._approved(entry, f"{name} {public}")
        self._laboratories[name] = public

    def _game_certified(self, entry: dict, at: int) -> None:
        begins, expires = microseconds(entry["begins"]), microseconds(entry["expires"])
        self._demand(entry["laboratory"] in self._laboratories, "certificate-laboratory", "one that was recognised")
        self._demand(begins < expires and at < expires, "certificate-validity", "begins, and is not over")
        key = entry["game"], entry["maths"], entry["code"][:32]
        periods = self._certificates.setdefault(key, [])
        once = all(blob != entry["certificate"] for _, _, blob in periods)
        self._demand(once, "certificate-once", "a new certificate")
        periods[:] = [period for period in periods if at < period[1]]
        self._demand(len(periods) < CERTIFICATES_MOST, "certificates-most", f"at most {CERTIFICATES_MOST}")
        periods.append((begins, expires, entry["certificate"]))

    def _house_production(self, entry: dict, at: int) -> None:
        self._demand(not self._production, "production-once", "the first")
        self._production = True

    def _software_verified(self, entry: dict, at: int) -> None:
        software, found = self._software, (entry["code"], entry["configuration"])
        reasons = ("start",) if software.found is None else ("daily", "asked")
        self._demand(entry["reason"] in reasons, "software-reason", " or ".join(reasons))
        lines = "".join(f"{game} {self._games[game].maths}\n" for game in sorted(self._games) if self._games[game].on)
        matches = (
            entry["code"].startswith(software.running)
            and software.found in (None, found)
            and entry["games"] == hashlib.sha256(lines.encode()).hexdigest()
        )
        self._demand(entry["matches"] == matches, "software-matches", str(matches))
        software.found, software.matches = software.found or found, matches

    def _seed_committed(self, entry: dict, at: int) -> None:
        self._commit(entry, old=True)

    def _seed_committed_v2(self, entry: dict, at: int) -> None:
        self._commit(entry, old=False)

    def _commit(self, entry: dict, old: bool) -> None:
        n, limits = len(self._epochs) + 1, entry["limits"]
        age, draws, delay = limits["age_seconds"], limits["draws"], limits["reveal_delay_seconds"]
        self._idle()
        self._demand(entry["epoch"] == n, "epoch-order", str(n))
        self._demand(self._ahead == 0, "epoch-ahead", "every epoch before activated or abandoned")
        within = 1 <= age <= 600 and 1 <= draws <= 2**20 and delay <= 3600
        self._demand(within, "epoch-limits", "1 to 600 s, 1 to 1,048,576 draws, 0 to 3,600 s of delay")
        healthy = len(entry["sources"]) > 0 and all(source["healthy"] for source in entry["sources"])
        self._demand(healthy, "epoch-sources", "sources, all of them healthy")
        given = sum(source["bytes"] for source in entry["sources"])
        self._demand(given >= SECRET_SIZE, "epoch-sources", f"{SECRET_SIZE} bytes or more")
        policy = entry["policy"]
        if old:
            self._demand(policy == "none", "epoch-policy", "none")
        else:
            groups = len({source["group"] for source in entry["sources"]})
            self._demand(1 <= entry["minimum"] <= groups, "epoch-sources", "as many groups as the minimum, and one")
            self._demand(policy in ("none", "witness", "beacon"), "epoch-policy", "none, witness or beacon")
            self._demand((policy == "beacon") == ("beacon" in entry), "epoch-policy", "a beacon with its policy")
            self._demand((policy == "witness") == ("nonces" in entry), "epoch-policy", "nonces with their policy")
        self._listed(entry)
        self._one_source += entry.get("minimum") == 1
        commitment = bytes.fromhex(entry["commitment"])
        self._epochs.append(Epoch(commitment, entry["policy"], age * SECOND, draws, delay * SECOND))
        self._ahead = n
        self._escrow(entry, n)

    def _escrow(self, entry: dict, n: int) -> None:
        """Holds what others opened against the commitment."""
        try:
            if (box := escrow.Box.of(self._key.name, entry)) is not None:
                self.escrowed[n] = box
        except escrow.NotEscrow:
            pass  # which is for whoever wants to open it to say
        for box in self._boxes:
            if box.epoch != n:
                continue
            if (box.origin, box.commitment.hex()) != (self._key.name, entry["commitment"]):
                self.unchecked.append(f"a secret of {box.origin} and {box.commitment.hex()}, which epoch {n} has not")
                continue
            try:
                self._opened[n], _ = box.secret()
            except escrow.NotCommitted as err:
                self._expect(False, "escrow", str(err))
            except escrow.NotEscrow as err:
                self.unchecked.append(f"a secret of epoch {n}: {err}")

    def _prove_opened(self) -> None:
        """Proves the draws of epochs whose secret the house did not show."""
        for box in self._boxes:
            if not self.stopped and not 1 <= box.epoch <= len(self._epochs):
                self.unchecked.append(f"a secret of epoch {box.epoch}, which the log does not have")
        for n, secret in sorted(self._opened.items()):
            epoch = self._epochs[n - 1]
            if self.stopped or n <= self._revealed and not epoch.abandoned:
                continue
            self.epochs_opened += 1
            epoch.proven = True
            self._prove(n, epoch, chance.epoch_key(secret, epoch.commitment, epoch.external))

    def _listed(self, entry: dict) -> None:
        """The sources of a seed, which are those that are in order."""
        sources = self._sources
        sound = {source["name"]: source.get("group", "") for source in entry["sources"]}
        for name in (source["name"] for source in entry["sources"]):
            self._demand(name not in sources.out, "entropy-listed", "sources that are in order")
        for name in sources.sound:
            self._demand(name in sound, "entropy-left-out", f"{name} among the sources, or first its failure")
        minimum = entry.get("minimum", 0)
        if minimum > 0:
            self._minimum(minimum)
        sources.sound, sources.seeded = sound, True
        if minimum > 0:
            sources.groups = sources.left()

    def _minimum(self, minimum: int) -> None:
        same = minimum > 0 and self._sources.minimum in (0, minimum)
        self._demand(same, "entropy-minimum", f"{self._sources.minimum or 'at least 1'}, the same in a process")
        self._sources.minimum = minimum

    def _left(self, entry: dict) -> None:
        """What the entry says of how many groups are left, and how many there must be."""
        sources = self._sources
        self._minimum(entry["minimum"])
        if sources.known():
            self._demand(entry["groups"] == sources.left(), "entropy-groups", str(sources.left()))
        sources.groups = entry["groups"]

    def _entropy_failed(self, entry: dict, at: int) -> None:
        sources, name, group = self._sources, entry["source"], entry["group"]
        named = SOURCE_NAME.fullmatch(name) is not None and SOURCE_NAME.fullmatch(group) is not None
        self._demand(named, "entropy-source", "names of lower-case letters, digits, - and .")
        self._demand(entry["reason"] in SOURCE_REASONS, "entropy-reason", ", ".join(sorted(SOURCE_REASONS)))
        failure = sources.out.pop(name, None)
        fresh = (failure is None or not failure.said) and len(sources.out) < SOURCES_OUT_MOST
        self._demand(fresh, "entropy-failed", "a source that is in order, or whose failure this process has not said")
        count = self._failures[name] + 1
        self._demand(entry["count"] == count, "entropy-count", str(count))
        self._demand(sources.sound.get(name, "") in ("", group), "entropy-group", "that of the latest seed")
        sources.sound.pop(name, None)
        sources.out[name] = Failure(count, group, self.size)
        self._left(entry)
        self._failures[name] = count

    def _entropy_restored(self, entry: dict, at: int) -> None:
        sources, name, group = self._sources, entry["source"], entry["group"]
        self._demand(name in sources.out, "entropy-restored", "a source that failed")
        failure = sources.out[name]
        self._demand(entry["count"] == failure.count, "entropy-count", str(failure.count))
        same = SOURCE_NAME.fullmatch(group) is not None and (not failure.said or group == failure.group)
        self._demand(same, "entropy-group", failure.group)
        del sources.out[name]
        sources.sound[name] = group
        self._left(entry)

    def _seed_activated(self, entry: dict, at: int) -> None:
        epoch = self._activate(entry)
        carried_out = entry["policy"] == epoch.policy == "none" and entry["external"] == ""
        self._demand(carried_out, "epoch-policy", "none, as committed")
        epoch.activated = at
        self._playing, self._ahead = entry["epoch"], 0

    def _seed_activated_v2(self, entry: dict, at: int) -> None:
        epoch, policy = self._activate(entry), entry["policy"]
        self._demand(policy in (epoch.policy, "none"), "epoch-policy", f"{epoch.policy}, as committed, or none")
        self._demand(len(entry["external"]) == (0 if policy == "none" else 64), "epoch-policy", "32 bytes, or none")
        signature = 2 * beacon.SIGNATURE_SIZE if policy == "beacon" else 0
        self._demand(len(entry.get("signature", "")) == signature, "epoch-policy", "a signature with a beacon")
        self._demand((policy == "witness") == ("nonces" in entry), "epoch-policy", "nonces with witnesses")
        epoch.activated = at
        epoch.external = bytes.fromhex(entry["external"])
        self._playing, self._ahead = entry["epoch"], 0

    def _activate(self, entry: dict) -> Epoch:
        """Demands that an epoch may come into use, and returns it."""
        self._idle()
        follows = self._playing == 0 and self._ahead != 0 and entry["epoch"] == self._ahead
        self._demand(follows, "epoch-activation", "the epoch committed ahead, and none in use")
        return self._epochs[entry["epoch"] - 1]

    def _seed_closed(self, entry: dict, at: int) -> None:
        self._idle()
        self._demand(self._playing != 0 and entry["epoch"] == self._playing, "epoch-closing", "the active epoch")
        epoch = self._epochs[self._playing - 1]
        reached = epoch.reached(at)
        self._demand(reached != "" and entry["reason"] == reached, "epoch-early", f"by {reached or 'no limit yet'}")
        self._demand(entry["draws"] == epoch.draws, "epoch-draws", str(epoch.draws))
        self._close(epoch, at)

    def _close(self, epoch: Epoch, at: int) -> None:
        epoch.closed = at
        self._closed, self._playing = self._playing, 0
        self._ended += 1

    def _idle(self) -> None:
        """Demands that no epoch is halted."""
        self._demand(self._halted == 0, "epoch-halted", f"a decision about epoch {self._halted} first")

    def _seed_halted(self, entry: dict, at: int) -> None:
        n = entry["epoch"]
        self._demand(self._halted == 0, "epoch-halt", "no other epoch that is halted")
        self._demand(1 <= n <= len(self._epochs), "epoch-halt", "an epoch that was committed")
        secret = n > self._revealed and not self._epochs[n - 1].abandoned
        self._demand(secret, "epoch-halt", "an epoch neither revealed nor abandoned")
        self._halted = n

    def _seed_ended(self, entry: dict, at: int) -> None:
        self._close(self._decided(entry, early=True), at)

    def _seed_abandoned(self, entry: dict, at: int) -> None:
        epoch, n = self._decided(entry, early=False), entry["epoch"]
        if n == self._playing:
            self._close(epoch, at)
        if n == self._ahead:
            self._ahead = 0
        epoch.abandoned = True
        self._abandoned.append((n, self.size, epoch.draws))
        self._pass()

    def _decided(self, entry: dict, early: bool) -> Epoch:
        """Demands that two officers decide about the halted epoch, and returns it."""
        n = entry["epoch"]
        self._demand(self._halted != 0 and n == self._halted, "epoch-undecided", f"the halted epoch {self._halted}")
        self._demand(not early or n == self._playing, "epoch-end", "the active epoch")
        epoch = self._epochs[n - 1]
        self._demand(entry["draws"] == epoch.draws, "epoch-draws", str(epoch.draws))
        self._approved(entry, f"epoch {n} draws {entry['draws']} reason {entry['reason']}")
        self._halted = 0
        return epoch

    def _pass(self) -> None:
        """Goes over epochs whose secret will not come out."""
        while self._revealed < len(self._epochs) and self._epochs[self._revealed].abandoned:
            self._revealed += 1

    def _seed_revealed(self, entry: dict, at: int) -> None:
        n = self._revealed + 1
        self._demand(entry["epoch"] != self._halted or self._halted == 0, "epoch-halted", "a decision first")
        self._demand(entry["epoch"] == n <= self._closed, "epoch-reveal", "the closed epoch after the latest revealed")
        epoch = self._epochs[n - 1]
        self._demand(at >= epoch.closed + epoch.delay, "epoch-reveal-early", "the delay after the closing")
        self._late(n, "was revealed")
        self._revealed = n
        self._pass()
        secret, salt = bytes.fromhex(entry["secret"]), bytes.fromhex(entry["salt"])
        given = chance.commitment(self._key.name, n, secret, salt)
        self._expect(given == epoch.commitment, "seed-commitment", epoch.commitment.hex())
        if given == epoch.commitment:
            self._expect(secret not in self._secrets, "seed-once", "a secret that no epoch had")
            self._secrets.add(secret)
            self.epochs_revealed += 1
            self._prove(n, epoch, chance.epoch_key(secret, epoch.commitment, epoch.external))

    def _prove(self, n: int, epoch: Epoch, key: bytes) -> None:
        """Holds each draw of an epoch against the epoch's key."""
        for draw in epoch.to_prove:
            player, nonce = bytes.fromhex(draw.player), self._nonce(draw.player, n)
            r = chance.draw(key, self._key.name, draw.game.id, draw.game.version, player, draw.n, 0, nonce).hex()
            if draw.r == r:
                self.rounds_proven += 1
            else:
                self.findings.append(Finding(draw.index, "draw", r))
        epoch.to_prove.clear()

    def _late(self, n: int, what: str) -> bool:
        overdue = self._epochs[n - 1].overdue
        late = overdue is not None and self._at > overdue + REVEAL_LATE
        if late:
            self.warnings.append(f"the secret of epoch {n} is late: it {what}")
        return late
