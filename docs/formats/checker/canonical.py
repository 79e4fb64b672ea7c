"""What all pages share (docs/formats/README.md): canonical JSON, framing, hex, time, UUID, currency.

A shape is a function that says whether a parsed value may stand in a member:
`members` of shapes is the shape of an object, and so on. records.py is made of them.
"""

import datetime
import json
import re
from collections.abc import Callable

INTEGER_MOST = 2**53 - 1  # JSON readers agree on integers up to here
ENTRY_MOST = 65_535

Shape = Callable[[object], bool]


class NotCanonical(ValueError):
    """Bytes that are not the canonical form of anything."""


# JSON


def _no_constant(text: str) -> None:
    raise NotCanonical(f"{text} is no JSON")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise NotCanonical("a member twice")
    return value


def _number(text: str) -> int | float:
    """A number with a fraction or an exponent; RFC 8785 writes one that is whole as an integer."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= INTEGER_MOST else value


def read_any(data: bytes) -> object:
    """A JSON value in any spelling, such as an intermediary may have made of it. Raises NotCanonical."""
    try:
        return json.loads(data, object_pairs_hook=_object, parse_float=_number, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise NotCanonical(f"no JSON: {err}") from err


def write(value: object) -> bytes:
    """The canonical form of a value made of dict, list, str, int and bool."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(data: bytes) -> dict:
    """The object of which data is the canonical form. Raises NotCanonical.

    With printable ASCII and no backslash in it a text needs no escape; with that known,
    bytes that are written again as they were read have no other freedom left.
    """
    if re.fullmatch(rb"[\x20-\x5b\x5d-\x7e]*", data) is None:
        raise NotCanonical("a byte that is not printable ASCII, or a backslash")
    value = read_any(data)
    if not isinstance(value, dict):
        raise NotCanonical("not an object")
    try:
        again = write(value)
    except RecursionError as err:
        raise NotCanonical("too deep") from err
    if again != data:
        raise NotCanonical("white space, the order of members, or another spelling of a number")
    return value


# Shapes


def below(limit: int) -> Shape:
    """An integer from 0 to limit-1."""
    return lambda value: type(value) is int and 0 <= value < limit


integer = below(INTEGER_MOST + 1)


def signed(value: object) -> bool:
    return type(value) is int and -INTEGER_MOST <= value <= INTEGER_MOST


def boolean(value: object) -> bool:
    return type(value) is bool


def text(most: int) -> Shape:
    """A text of at most `most` characters; `read` has seen to its alphabet."""
    return lambda value: isinstance(value, str) and len(value) <= most


def pattern(expression: str) -> Shape:
    compiled = re.compile(expression)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def hexadecimal(size: int) -> Shape:
    """Exactly `size` bytes in lower-case hex."""
    return pattern(rf"[0-9a-f]{{{2 * size}}}")


def hexadecimal_most(size: int) -> Shape:
    """At most `size` bytes in lower-case hex."""
    return pattern(rf"(?:[0-9a-f]{{2}}){{0,{size}}}")


uuid = pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def time(value: object) -> bool:
    try:
        return isinstance(value, str) and microseconds(value) >= 0
    except ValueError:
        return False


def currency(value: object) -> bool:
    return isinstance(value, str) and value in CURRENCIES


def items(shape: Shape, least: int, most: int) -> Shape:
    """An array of `least` to `most` elements."""
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(shape, value))


def members(shapes: dict[str, Shape]) -> Shape:
    """An object that has exactly these members."""
    return lambda value: (
        isinstance(value, dict) and value.keys() == shapes.keys() and all(shapes[k](v) for k, v in value.items())
    )


money = members({"amount": signed, "currency": currency})


# Values

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)


def microseconds(text: str) -> int:
    """A time as microseconds since 1970, negative before. Raises ValueError."""
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"no time: {text[:40]}")
    return (datetime.datetime.fromisoformat(text[:-1]) - _EPOCH) // _MICROSECOND


def frame(*fields: bytes) -> bytes:
    """Each field after its length as a big-endian 32-bit integer."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def integer64(value: int) -> bytes:
    """An integer as it is framed: 8 bytes, big-endian."""
    return value.to_bytes(8, "big")


CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
    HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL
    LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP
    PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT
    TND TOP TRY TTD TWD TZS UAH UGX USD UYI UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()
)
