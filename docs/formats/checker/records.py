"""The members of every record type: the tables of docs/formats/entries.md."""

import re

import canonical
from canonical import (
    NotCanonical,
    Shape,
    boolean,
    currency,
    hexadecimal,
    hexadecimal_most,
    integer,
    items,
    members,
    pattern,
    signed,
    text,
    time,
    uuid,
)

# A member of this shape holds JSON of somebody else's form. An entry has its bytes.
FOREIGN: Shape = lambda value: isinstance(value, bytes)

HEADER: dict[str, Shape] = {"actor": text(64), "at": time, "id": uuid, "type": text(64)}
REQUEST: dict[str, Shape] = {"fingerprint": hexadecimal(16), "key": hexadecimal(32)}
NO_REQUEST = {"fingerprint": "0" * 32, "key": "0" * 64}

_postings = items(members({"account": text(128), "amount": signed, "balance": signed, "currency": currency}), 0, 64)
_approvals = items(members({"officer": text(32), "signature": hexadecimal_most(256)}), 0, 8)
_transfer: dict[str, Shape] = {"amount": canonical.money, "player": hexadecimal(16), "postings": _postings}
_decision: dict[str, Shape] = {
    "approvals": _approvals,
    "draws": integer,
    "epoch": integer,
    "reason": hexadecimal(32),
}
_source = {"count": integer, "group": text(32), "groups": integer, "minimum": integer, "source": text(64)}

# Types that the house writes of itself.
OF_THE_HOUSE: dict[str, dict[str, Shape]] = {
    "house.created": {
        "format": integer,
        "keys": items(
            members({"algorithm": text(32), "assurance": text(32), "public": text(1024), "role": text(32)}), 0, 16
        ),
        "origin": text(255),
    },
    "house.active": {
        "node": text(64),
        "reason": text(32),
        "release": text(64),
        "root": hexadecimal(32),
        "size": integer,
        "term": integer,
    },
    "house.active.v2": {
        "members": items(members({"name": text(64), "role": text(32)}), 0, 16),
        "node": text(64),
        "reason": text(32),
        "release": text(64),
        "root": hexadecimal(32),
        "size": integer,
        "term": integer,
    },
    "house.restored": {
        "backup": hexadecimal(32),
        "reason": hexadecimal(32),
        "root": hexadecimal(32),
        "signed": integer,
        "size": integer,
    },
    "chance.alarmed": {
        "evidence": integer,
        "game": text(32),
        "maths": hexadecimal(32),
        "monitor": text(32),
        "round": integer,
        "rounds": integer,
        "suspended": boolean,
    },
    "chance.observed": {
        "bets": items(members({"alarmed": boolean, "evidence": signed, "name": text(32)}), 0, 16),
        "game": text(32),
        "maths": hexadecimal(32),
        "rounds": integer,
        "streams": items(
            members(
                {
                    "alarmed": boolean,
                    "block": items(integer, 0, 256),
                    "counts": items(integer, 0, 256),
                    "evidence": signed,
                    "name": text(32),
                }
            ),
            0,
            16,
        ),
        "through": integer,
    },
    "clock.stepped": {"step_microseconds": signed},
    "alarm.raised": {"about": hexadecimal(32), "alarm": text(64), "count": integer},
    "seed.committed": {
        "assurance": text(32),
        "commitment": hexadecimal(32),
        "epoch": integer,
        "limits": members({"age_seconds": integer, "draws": integer, "reveal_delay_seconds": integer}),
        "policy": text(32),
        "sealed": hexadecimal_most(1024),
        "signature": hexadecimal_most(256),
        "sources": items(
            members({"bytes": integer, "conditioned": boolean, "healthy": boolean, "name": text(64)}), 0, 16
        ),
    },
    "seed.committed.v2": {
        "assurance": text(32),
        "beacon": members(
            {
                "chain": hexadecimal(32),
                "genesis": integer,
                "group": hexadecimal(32),
                "id": text(64),
                "period": canonical.below(2**32),
                "public": hexadecimal(96),
                "round": integer,
            }
        ),
        "commitment": hexadecimal(32),
        "epoch": integer,
        "escrow": members({"recipients": items(text(128), 0, 8), "sealed": hexadecimal_most(4096)}),
        "limits": members({"age_seconds": integer, "draws": integer, "reveal_delay_seconds": integer}),
        "minimum": integer,
        "nonces": items(
            members(
                {"commitment": hexadecimal(32), "key": hexadecimal(32), "signature": hexadecimal(64), "witness": text(64)}
            ),
            1,
            16,
        ),
        "policy": text(32),
        "sealed": hexadecimal_most(1024),
        "signature": hexadecimal_most(256),
        "sources": items(
            members(
                {
                    "assurance": text(32),
                    "bytes": integer,
                    "conditioned": boolean,
                    "group": text(32),
                    "healthy": boolean,
                    "name": text(64),
                    "physical": boolean,
                }
            ),
            0,
            16,
        ),
    },
    "seed.activated.v2": {
        "epoch": integer,
        "external": hexadecimal_most(32),
        "nonces": items(members({"nonce": hexadecimal(32), "witness": text(64)}), 1, 16),
        "policy": text(32),
        "signature": pattern(r"(?:[0-9a-f]{2}){1,48}"),
    },
    "seed.activated": {"epoch": integer, "external": hexadecimal_most(1024), "policy": text(32)},
    "seed.closed": {"draws": integer, "epoch": integer, "reason": text(16)},
    "seed.revealed": {"epoch": integer, "salt": hexadecimal(32), "secret": hexadecimal(32)},
    "entropy.failed": _source | {"reason": text(32)},
    "entropy.restored": _source,
}

OF_THE_HOUSE |= {
    "vault.rewrapped": {"period": integer, "subjects": integer},
    "rng.assessed": {
        "bundle": hexadecimal(32),
        "code": hexadecimal(32),
        "configuration": hexadecimal(32),
        "games": items(members({"game": text(32), "maths": hexadecimal(32), "release": text(32)}), 0, 128),
        "outcome": text(16),
        "page": hexadecimal(32),
        "plan": hexadecimal(32),
        "report": hexadecimal(32),
        "sources": items(members({"conditioned": boolean, "name": text(64)}), 0, 32),
    },
    "house.production": {},
    "software.verified": {
        "code": hexadecimal(32),
        "configuration": hexadecimal(32),
        "games": hexadecimal(32),
        "matches": boolean,
        "node": text(64),
        "reason": text(16),
    },
}

# Members that an entry of a type need not have.
OPTIONAL: dict[str, set[str]] = {
    "seed.committed.v2": {"beacon", "escrow", "nonces"},
    "seed.activated.v2": {"nonces", "signature"},
}

# Types that a request causes; game.enabled also without one.
OF_REQUESTS: dict[str, dict[str, Shape]] = {
    "key.introduced": {
        "algorithm": text(32),
        "approvals": _approvals,
        "assurance": text(32),
        "public": text(1024),
        "role": text(32),
        "signature_new": hexadecimal_most(256),
        "signature_old": hexadecimal_most(256),
    },
    "key.retired": {
        "approvals": _approvals,
        "public": text(1024),
        "reason": hexadecimal(32),
        "role": text(32),
    },
    "seed.halted": {"epoch": integer, "reason": hexadecimal(32)},
    "seed.ended": _decision,
    "seed.abandoned": _decision,
    "officer.enrolled": {
        "algorithm": text(32),
        "approvals": _approvals,
        "officer": text(32),
        "public": hexadecimal_most(128),
    },
    "officer.retired": {"approvals": _approvals, "officer": text(32)},
    "laboratory.recognised": {"approvals": _approvals, "laboratory": text(64), "public": text(1024)},
    "game.certified": {
        "begins": time,
        "certificate": hexadecimal(32),
        "code": hexadecimal(32),
        "expires": time,
        "game": text(32),
        "laboratory": text(64),
        "maths": hexadecimal(32),
        "release": text(32),
        "returns": text(64),
    },
    "player.created": {"currency": currency, "player": hexadecimal(16)},
    "player.state-changed": {"player": hexadecimal(16), "reason": hexadecimal(32), "state": text(16)},
    "player.nonce-set": {"epoch": integer, "nonce": hexadecimal(32), "player": hexadecimal(16)},
    "subject.recorded": {
        "attributes": items(members({"commitment": hexadecimal(32), "name": text(32)}), 0, 32),
        "player": hexadecimal(16),
    },
    "subject.erased": {"approvals": _approvals, "commitments": integer, "player": hexadecimal(16)},
    "round.displayed": {
        "displayed": hexadecimal(32),
        "expected": hexadecimal(32),
        "player": hexadecimal(16),
        "round": uuid,
    },
    "session.opened": {"expires": time, "game": text(32), "player": hexadecimal(16)},
    "session.closed": {"player": hexadecimal(16), "session": uuid},
    "wallet.deposited": _transfer,
    "wallet.withdrawn": _transfer,
    "game.enabled": {
        "definition": FOREIGN,
        "engine": text(32),
        "game": text(32),
        "leaf_max": integer,
        "maths": hexadecimal(32),
        "payout_max": signed,
        "reason": hexadecimal(32),
        "release": text(32),
    },
    "game.disabled": {"game": text(32), "reason": hexadecimal(32)},
    "round.settled": {
        "draw": members(
            {
                "epoch": integer,
                "n": integer,
                "number": integer,
                "r": hexadecimal(32),
                "step": integer,
                "values": items(items(canonical.below(2**32), 2, 2), 0, 4096),
            }
        ),
        "enabled": integer,
        "game": text(32),
        "outcome": FOREIGN,
        "payout": canonical.money,
        "player": hexadecimal(16),
        "postings": _postings,
        "stake": canonical.money,
    },
}


class UnknownType(Exception):
    """An entry of a type that these formats do not have."""


_TYPE = re.compile(rb'.*,"type":"([a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?)"}', re.DOTALL)


def type_of(leaf: bytes) -> str:
    """The type, which every leaf ends in. Raises NotCanonical."""
    match = _TYPE.fullmatch(leaf)
    if match is None:
        raise NotCanonical("it does not end in a type")
    return match[1].decode("ascii")


def read(leaf: bytes) -> dict:
    """The entry of which leaf is the canonical form. Raises NotCanonical and UnknownType."""
    kind = type_of(leaf)
    if kind in OF_THE_HOUSE:
        shapes = HEADER | OF_THE_HOUSE[kind]
    elif kind in OF_REQUESTS:
        shapes = HEADER | OF_REQUESTS[kind]
    else:
        raise UnknownType(kind)
    foreign = {}
    for name in (name for name, shape in shapes.items() if shape is FOREIGN):
        leaf, foreign[name] = _cut(leaf, name)
    entry = canonical.read(leaf) | foreign
    if kind in OF_REQUESTS and ("key" in entry or "fingerprint" in entry):
        shapes |= REQUEST
    if (different := entry.keys() ^ shapes.keys()) and not different <= OPTIONAL.get(kind, set()) & shapes.keys():
        raise NotCanonical(f"members {', '.join(sorted(different))}")
    for name, value in entry.items():
        if not shapes[name](value):
            raise NotCanonical(f"member {name}")
    if all(entry.get(name) == zeros for name, zeros in NO_REQUEST.items()):
        raise NotCanonical("key and fingerprint are zeros")
    return entry


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\],]', re.DOTALL)


def _cut(leaf: bytes, name: str) -> tuple[bytes, bytes]:
    """Takes a foreign member's value out of a leaf, minding only texts and nesting, and leaves {} there."""
    mark, depth = b',"' + name.encode() + b'":', 0
    start = leaf.find(mark) + len(mark)
    if start < len(mark):
        raise NotCanonical(f"no member {name}")
    for match in _TOKEN.finditer(leaf, start):
        token, end = match[0], match.end()
        if token in (b"{", b"["):
            depth += 1
        elif depth == 0 and token in (b"}", b"]", b","):
            end = match.start()  # of what follows a number
        elif token in (b"}", b"]"):
            depth -= 1
        if token == b'"' or end == start:
            break
        if depth == 0:
            return leaf[:start] + b"{}" + leaf[end:], leaf[start:end]
    raise NotCanonical(f"member {name}")
