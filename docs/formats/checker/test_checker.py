#!/usr/bin/env python3
"""The checker against the examples and vectors of docs/formats and the standards' own test values."""

import hashlib
import json
import sys
import unittest
from pathlib import Path

import aes
import beacon
import bls12381
import books
import canonical
import chance
import check
import ed25519
import escrow
import monitor
import p256
import records
import ring
import slots
import tlog
import x25519
from canonical import frame

FORMATS = Path(__file__).resolve().parent.parent
EXAMPLES = FORMATS / "examples"


def vectors(name: str):
    return json.loads((FORMATS / "vectors" / name).read_text(encoding="utf-8"))


def example(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


class Keys(unittest.TestCase):
    def test_signatures_of_officers_and_of_exchanged_keys(self) -> None:
        listed = vectors("keys.json")
        self.assertGreaterEqual(len(listed), 10)
        for vector in listed:
            with self.subTest(vector["about"]):
                message, signature = vector["message"].encode(), bytes.fromhex(vector["signature"])
                self.assertEqual(canonical.write(canonical.read(message)), message)
                for other in (message, message + b" "):
                    good = books.Key("checkpoint", "ed25519", vector["public"], 0).signed(other, signature) if (
                        "+" in vector["public"]
                    ) else books.Officer(vector["algorithm"], bytes.fromhex(vector["public"])).signed(other, signature)
                    self.assertEqual(good, other is message)


class Canonical(unittest.TestCase):
    def test_every_example_reads_and_writes_as_itself(self) -> None:
        kinds = {path.stem for path in EXAMPLES.glob("*.json")} - {"answer", "seed-statement"}
        self.assertEqual(kinds, (records.OF_THE_HOUSE | records.OF_REQUESTS).keys())
        for kind in kinds:
            with self.subTest(kind):
                leaf = example(f"{kind}.json")
                self.assertEqual(records.read(leaf)["type"], kind)
                self.assertEqual(canonical.write(canonical.read(leaf)), leaf)

    def test_no_other_bytes_are_read(self) -> None:
        leaf = example("wallet.deposited.json")
        for old, new in (
            (b'{"actor"', b'{ "actor"'),
            (b'"operator"', b'"operat\\u006fr"'),
            (b'"operator"', b'"op\xc3\xa9rator"'),
            (b":10000", b":1e4"),
            (b":10000", b":010000"),
            (b":-10000", b":-0"),
            (b":10000", b":9007199254740992"),
            (b'"EUR"', b'"EUX"'),
            (b'"EUR"', b"null"),
            (b'"amount":{', b'"amount":{"a":1,'),
            (b"2026-03-01", b"2026-02-29"),
            (b".300822Z", b".300822+00:00"),
            (b"-4102-", b"-5102-"),
            (b'"key":"a', b'"key":"A'),
            (b'"player":"93c6', b'"player":"93'),
            (b',"fingerprint":"8dca5f040c7a282845b341119e678135"', b""),
            (b'}],"type"', b'}],"tail":1,"type"'),
        ):
            with self.subTest(new):
                self.assertIn(old, leaf)
                self.assertRaises(canonical.NotCanonical, records.read, leaf.replace(old, new, 1))

    def test_unknown_type(self) -> None:
        self.assertRaises(records.UnknownType, records.read, b'{"actor":"house","type":"house.moved.v2"}')
        self.assertRaises(canonical.NotCanonical, records.read, b'{"actor":"house","type":"House"}')

    def test_requests(self) -> None:
        for r in vectors("requests.json")["requests"]:
            fields = r["key"], r["method"], r["path"], r["principal"], r["body"]
            key = hashlib.sha256(frame(b"countroom/request-key/v1", r["scope"].encode(), r["key"].encode()))
            self.assertEqual(key.hexdigest(), r["key_hash"])
            asked = hashlib.sha256(frame(b"countroom/request-fingerprint/v1", *(field.encode() for field in fields)))
            self.assertEqual(asked.digest()[:16].hex(), r["fingerprint"])
        for c in vectors("requests.json")["commitments"]:
            fields = b"countroom/commitment/v1", bytes.fromhex(c["salt"]), c["text"].encode()
            self.assertEqual(hashlib.sha256(frame(*fields)).hexdigest(), c["commitment"])


class Signatures(unittest.TestCase):
    def test_rfc8032(self) -> None:
        """RFC 8032, section 7.1, tests 1 and 2."""
        for public, message, signature in (
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ):
            key, text, good = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
            self.assertTrue(ed25519.verify(key, text, good))
            self.assertFalse(ed25519.verify(key, text + b"\0", good))
            s = int.from_bytes(good[32:], "little") + ed25519.L
            self.assertFalse(ed25519.verify(key, text, good[:32] + s.to_bytes(32, "little")))
            self.assertFalse(ed25519.verify(key, text, good[:-1]))

    def test_rfc6979(self) -> None:
        """RFC 6979, section A.2.5, with SHA-256."""
        public = p256.key(
            p256.KEY_PREFIX
            + bytes.fromhex(
                "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
            )
        )
        r = "00efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        s = "00f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        good = bytes.fromhex(f"30460221{r}0221{s}")
        self.assertIsNotNone(public)
        self.assertTrue(p256.verify(public, b"sample", good))
        self.assertFalse(p256.verify(public, b"simple", good))
        self.assertFalse(p256.verify(public, b"sample", good + b"\0"))
        self.assertFalse(p256.verify(public, b"sample", bytes.fromhex(f"30450221{r}0220{s[2:]}")))  # negative

    def test_seed_statement(self) -> None:
        house = records.read(example("house.created.json"))
        public = p256.key(bytes.fromhex(house["keys"][1]["public"]))
        signature = bytes.fromhex(records.read(example("seed.committed.json"))["signature"])
        self.assertTrue(p256.verify(public, example("seed-statement.json"), signature))


class Beacon(unittest.TestCase):
    def test_rfc9380(self) -> None:
        """Appendix J.9.1, message "abc"."""
        x, y = bls12381.hash_to_g1(b"abc", b"QUUX-V01-CS02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_")
        self.assertEqual(f"{x:096x}"[:16], "03567bc5ef9c690c")
        self.assertEqual(f"{y:096x}"[:16], "0b9c15f3fe6e5cf4")

    def test_published_round(self) -> None:
        """Round 1000 of the public network's chain quicknet."""
        chain = beacon.Chain(
            {
                "genesis": 1692803367,
                "group": "f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e",
                "id": "quicknet",
                "period": 3,
                "public": "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064"
                "510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
            }
        )
        self.assertEqual(chain.hash.hex(), "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971")
        signature = (
            "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
        )
        self.assertTrue(chain.verify(1000, bytes.fromhex(signature)))
        self.assertFalse(chain.verify(1001, bytes.fromhex(signature)))
        self.assertFalse(chain.verify(1000, bytes.fromhex(signature[:-1] + "8")))
        self.assertFalse(chain.verify(1000, b"\xc0" + bytes(47)))


class Chance(unittest.TestCase):
    def test_vectors(self) -> None:
        draws = 0
        for w in vectors("external.json")["witnesses"]:
            nonces, epoch = [(n["witness"], bytes.fromhex(n["nonce"])) for n in w["nonces"]], int(w["epoch"])
            for n, (witness, nonce) in zip(w["nonces"], nonces):
                self.assertEqual(chance.nonce_commitment(w["origin"], epoch, witness, nonce).hex(), n["commitment"])
            self.assertEqual(chance.witness_external(w["origin"], epoch, nonces).hex(), w["external"])
        for b in vectors("external.json")["beacons"]:
            chain, signature = bytes.fromhex(b["chain"]), bytes.fromhex(b["signature"])
            external = chance.beacon_external(b["origin"], int(b["epoch"]), chain, int(b["round"]), signature)
            self.assertEqual(external.hex(), b["external"])
        for e in vectors("chance.json")["epochs"]:
            secret, salt, external = (bytes.fromhex(e[name]) for name in ("secret", "salt", "external"))
            committed = chance.commitment(e["origin"], int(e["epoch"]), secret, salt)
            self.assertEqual(committed.hex(), e["commitment"])
            key = chance.epoch_key(secret, committed, external)
            self.assertEqual(key.hex(), e["key"])
            for d in e["draws"]:
                player, nonce = bytes.fromhex(d["player"]), bytes.fromhex(d["nonce"])
                r = chance.draw(key, e["origin"], d["game"], d["version"], player, int(d["n"]), d["step"], nonce)
                self.assertEqual(r.hex(), d["r"])
                words = chance.Words(r)
                self.assertEqual([words.word().to_bytes(4, "big").hex() for _ in d["words"]], d["words"])
                words = chance.Words(r)
                self.assertEqual([words.integer(m) for m in d["ranges"]], d["ints"])
                draws += 1
        self.assertGreater(draws, 5)


class Slots(unittest.TestCase):
    def setUp(self) -> None:
        self.enabled = records.read(example("game.enabled.json"))
        self.definition = canonical.read_any(self.enabled["definition"])

    def test_worked_rounds(self) -> None:
        game = slots.Game(self.definition)
        for r in vectors("rounds.json")["rounds"]:
            with self.subTest(r["about"]):
                played = game.play(bytes.fromhex(r["r"]), r["stake"])
                self.assertEqual(played, (r["values"], r["outcome"], r["payout"]))

    def test_bounds(self) -> None:
        game = slots.Game(self.definition)
        self.assertEqual(game.leaf_most(), self.enabled["leaf_max"])
        self.assertEqual(game.payout_most(), self.enabled["payout_max"])

    def test_limits(self) -> None:
        for change in (
            {"format": "countroom/slots/2"},
            {"id": "-quay"},
            {"version": "1.0"},
            {"version": "1.0.65536"},
            {"max_win": 0},
            {"max_win": True},
            {"stakes": [20, 20]},
            {"stakes": [30]},
            {"stakes": []},
            {"lines": [[1, 1, 1, 1, 1]] * 2},
            {"lines": [[1, 1, 1, 1, 3]]},
            {"symbols": self.definition["symbols"][1:]},
            {"free_spins": {"awards": [0, 0, 10, 9, 10], "maximum": 30, "multiplier": 3}},
            {"free_spins": {"awards": [0, 0, 10, 10, 31], "maximum": 30, "multiplier": 3}},
            {
                "stakes": [1_000_000_000],
                "symbols": [symbol | {"pays": [0, 0, 0, 0, 100_000]} for symbol in self.definition["symbols"]],
                "free_spins": {"awards": [0] * 5, "maximum": 0, "multiplier": 100},
            },
            {"colour": "red"},
        ):
            with self.subTest(change):
                self.assertRaises(slots.NotPlayable, slots.Game, self.definition | change)


class Chance(unittest.TestCase):
    def test_logarithms_and_bets(self) -> None:
        for case in vectors("monitor.json")["logarithms"]:
            self.assertEqual(monitor.logarithm(int(case["n"])), case["l"])
        (theory,) = monitor.THEORIES.values()
        for case in vectors("monitor.json")["bets"]:
            bet = monitor.low_bet(int(case["name"].split("/")[1]), *theory)
            self.assertEqual((bet.name, bet.gain, bet.loss), (case["name"], case["a"], case["b"]))

    def test_states(self) -> None:
        definition = canonical.read_any(records.read(example("game.enabled.json"))["definition"])
        game = slots.Game(definition)
        (maths,) = monitor.THEORIES
        symbols = [symbol["name"] for symbol in definition["symbols"]]
        watching = monitor.Monitor(game.id, maths, definition["strips"], symbols)
        for state in vectors("monitor.json")["states"]:
            while watching.rounds < state["rounds"]:
                n = watching.rounds + 1
                r = hashlib.sha256(f"countroom monitor vector {n}".encode()).digest()
                values, _, payout = game.play(r, 100)
                watching.round(n, values, payout, 100)
            for kind in ("streams", "bets"):
                for is_, want in zip(watching.state()[kind], state[kind], strict=True):
                    self.assertEqual(is_ | want, is_)


class Escrow(unittest.TestCase):
    def test_aes(self) -> None:
        """FIPS 197, section C.3; SP 800-38D's test cases 13, 14 and 15 of McGrew and Viega."""
        block = aes._encrypt(aes._expand(bytes(range(32))), bytes.fromhex("00112233445566778899aabbccddeeff"))
        self.assertEqual(block.hex(), "8ea2b7ca516745bfeafc49904b496089")
        for key, nonce, plain, sealed in (
            ("00" * 32, "00" * 12, "", "530f8afbc74536b9a963b4f1c4cb738b"),
            ("00" * 32, "00" * 12, "00" * 16, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
            (
                "feffe9928665731c6d6a8f9467308308" * 2,
                "cafebabefacedbaddecaf888",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
                "b094dac5d93471bdec1a502270e3cc6c",
            ),
        ):
            arguments = bytes.fromhex(key), bytes.fromhex(nonce), bytes.fromhex(sealed)
            self.assertEqual(aes.open_gcm(*arguments), bytes.fromhex(plain))
            self.assertIsNone(aes.open_gcm(*arguments[:2], arguments[2][:-1] + bytes([arguments[2][-1] ^ 1])))

    def test_x25519(self) -> None:
        """RFC 7748, section 6.1."""
        alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
        bob = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
        self.assertEqual(x25519.multiply(alice, x25519.BASE).hex(), public)
        self.assertEqual(x25519.multiply(alice, bob).hex(), shared)

    def test_vectors(self) -> None:
        for vector in vectors("escrow.json"):
            box = escrow.Box.read(vector["files"][0].encode())
            for inner, text in zip(vector["files"][1:], reversed(vector["keys"]), strict=True):
                box = box.take(escrow.read_key(text.encode()))
                self.assertEqual(box.write().decode(), inner)
            secret, salt = box.secret()
            self.assertEqual(chance.commitment(box.origin, box.epoch, secret, salt), box.commitment)


class Log(unittest.TestCase):
    def setUp(self) -> None:
        self.key = tlog.VerifierKey.parse(example("log.vkey").decode().strip())
        self.kept = check.read_kept(str(EXAMPLES / "answer.json"), self.key)

    def test_paths(self) -> None:
        self.assertEqual(tlog.tile_path(1, 1234067, 256), "tile/1/x001/x234/067")
        self.assertEqual(tlog.tile_path("entries", 5, 7), "tile/entries/005.p/7")

    def test_proofs_of_every_leaf_in_every_tree(self) -> None:
        """The definitions of RFC 6962, section 2.1, written out."""

        def split(leaves: list[bytes]) -> int:
            return 1 << (len(leaves) - 1).bit_length() - 1

        def root(leaves: list[bytes]) -> bytes:
            if len(leaves) == 1:
                return leaves[0]
            k = split(leaves)
            return tlog.node_hash(root(leaves[:k]), root(leaves[k:]))

        def path(m: int, leaves: list[bytes]) -> list[bytes]:
            if len(leaves) == 1:
                return []
            k = split(leaves)
            if m < k:
                return path(m, leaves[:k]) + [root(leaves[k:])]
            return path(m - k, leaves[k:]) + [root(leaves[:k])]

        tree, leaves = tlog.Tree(), []
        self.assertEqual(tree.root(), hashlib.sha256().digest())
        for size in range(1, 35):
            leaves.append(tlog.leaf_hash(bytes([size])))
            tree.add(leaves[-1])
            self.assertEqual(tree.root(), root(leaves))
            for index, leaf in enumerate(leaves):
                proof = path(index, leaves)
                self.assertEqual(tlog.root_of_proof(index, size, leaf, proof), tree.root())
                self.assertIsNone(tlog.root_of_proof(index, size, leaf, [*proof, leaf]))
                self.assertNotEqual(tlog.root_of_proof((index + 1) % (size + 1), size, leaf, proof), tree.root())

    def test_example_log(self) -> None:
        report = check.check_log(tlog.Directory(str(EXAMPLES / "log")), self.key, self.kept)
        self.assertEqual((report.status, len(report.warnings)), (check.HOLDS, 5))  # the restore, the downgrade, none after a beacon, another screen, another program
        self.assertEqual((report.rounds, report.rounds_proven, report.not_yet_provable), (4, 4, 0))

    def test_answers(self) -> None:
        answer = json.loads(example("answer.json"))
        reformatted = json.dumps({"items": [answer], "next": None}, indent=4).replace(": 100,", ": 1.00e2,")
        report = check.check_receipt(reformatted.encode(), None, ring.Ring(self.key))
        self.assertEqual((report.status, report.entries), (check.HOLDS, 1))
        answer["leaf"]["stake"]["amount"] = 20
        report = check.check_receipt(json.dumps(answer).encode(), None, ring.Ring(self.key))
        self.assertEqual([finding.rule for finding in report.findings], ["inclusion"])

    def test_notes(self) -> None:
        note = example("log/checkpoint")
        line = note[note.index("—".encode()) :]
        cosigned = note + "— witness.example AAAAAAAA\n".encode()
        self.assertEqual(tlog.Checkpoint.open(cosigned, self.key).size, self.size)
        for bad, error in (
            (note.replace(b"casino.example/log\n", b"casino.example/log\nmore\n", 1), tlog.NotSigned),
            (note.replace(line, "— witness.example AAAAAAAA\n".encode()), tlog.NotSigned),
            (note[:-1], tlog.Malformed),
            (note.replace(line, b""), tlog.Malformed),
            (note.replace("—".encode(), b"-"), tlog.Malformed),
        ):
            with self.subTest(bad):
                self.assertRaises(error, tlog.Checkpoint.open, bad, self.key)

    @property
    def size(self) -> int:
        return int(example("log/checkpoint").split(b"\n")[1])


if __name__ == "__main__":
    sys.exit(unittest.main())
