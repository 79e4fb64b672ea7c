"""What a house shows of the people behind its references: docs/formats/disclosure.md."""

import collections
import hashlib
import re

import canonical

LINE_MOST = 16_384
VALUE_MOST = 1_024

_MEMBERS = {"attribute", "index", "player", "salt", "value"}


class NotADisclosure(ValueError):
    """A file that is no disclosure."""


def _line(data: bytes) -> dict:
    if len(data) > LINE_MOST:
        raise NotADisclosure("a line that is too long")
    try:
        line = canonical.read_any(data)
    except canonical.NotCanonical as err:
        raise NotADisclosure(str(err)) from err
    if not isinstance(line, dict) or line.keys() != _MEMBERS:
        raise NotADisclosure("other members than it has to have")
    forms = {"attribute": "[a-z][a-z0-9-]{0,31}", "player": "[0-9a-f]{32}", "salt": "[0-9a-f]{64}"}
    for name, form in forms.items():
        if not isinstance(line[name], str) or not re.fullmatch(form, line[name]):
            raise NotADisclosure(f"member {name}")
    value = line["value"]
    if not isinstance(value, str) or "\0" in value or not 1 <= len(value.encode()) <= VALUE_MOST:
        raise NotADisclosure("member value")
    if not canonical.integer(line["index"]):
        raise NotADisclosure("member index")
    return line


def opens(line: dict, commitment: str) -> bool:
    """Whether a line opens a commitment."""
    salt = bytes.fromhex(line["salt"])
    framed = canonical.frame(b"countroom/subject/v1", line["attribute"].encode(), salt, line["value"].encode())
    return hashlib.sha256(framed).hexdigest() == commitment


def check(data: bytes, commitments: dict[tuple[str, int, str], str], erased: set[str]) -> dict[str, int]:
    """Counts what the commitments (by player, entry and attribute) come to."""
    states = {key: "erased" if key[0] in erased else "missing" for key in commitments}
    false = 0
    said = set()
    for text in data.removesuffix(b"\n").split(b"\n") if data else []:
        line = _line(text)
        key = line["player"], line["index"], line["attribute"]
        if key not in commitments:
            false += 1
            continue
        if key in said:
            raise NotADisclosure(f"{key} comes twice")
        said.add(key)
        if not opens(line, commitments[key]):
            states[key] = "false"
        else:
            states[key] = "not_erased" if states[key] == "erased" else "present"
    counts = collections.Counter({"present": 0, "erased": 0, "missing": 0, "false": false, "not_erased": 0})
    counts.update(states.values())
    return dict(counts)
