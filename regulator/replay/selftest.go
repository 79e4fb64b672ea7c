package replay

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"countroom/games/play"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/rngcert/chance"
)

// SelfTest makes up a house of one round and checks it: the round holds, and
// with one digit changed it does not. A program that is not what it should be,
// or a machine that computes wrongly, is found out before it says anything of
// somebody's money. In a browser it also has the code compiled, so that the
// reader's first check is as fast as his next.
func SelfTest() error {
	h := madeUp()
	if h.err != nil {
		return fmt.Errorf("self-test: %w", h.err)
	}
	if r := Check(h.question); r.Verdict() != Holds || len(r.Steps) != 8 || r.Round == nil {
		return fmt.Errorf("self-test: a round that holds is said not to: %+v", r.Steps)
	}
	changed := *h.question
	changed.Answer = strings.Replace(h.question.Answer, `"n":1,`, `"n":2,`, 1)
	if r := Check(&changed); r.Verdict() != Fails {
		return fmt.Errorf("self-test: a round that was changed is said to hold: %+v", r.Steps)
	}
	return nil
}

type sample struct {
	question *Question
	err      error
}

// madeUp is a house whose keys and secrets everybody knows.
var madeUp = sync.OnceValue(func() sample {
	q, err := makeUpWith(func([][]byte) {})
	return sample{q, err}
})

// makeUpWith makes it of leaves that may be changed before they are signed.
func makeUpWith(change func(leaves [][]byte)) (*Question, error) {
	const origin, game = "self-test.example", "lamplight-quay"
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	pub := key.Public().(ed25519.PublicKey)
	vkey, err := tlog.VKey(origin, pub)
	if err != nil {
		return nil, err
	}
	signer, err := tlog.NewSigner(origin, pub, func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil })
	if err != nil {
		return nil, err
	}
	d := slots.Bundled()
	m, err := slots.Compile(d)
	if err != nil {
		return nil, err
	}
	var secret, salt [32]byte
	commitment := chance.Commitment(origin, 1, secret, salt)
	var player entry.Ref
	drawer := chance.NewDrawer(chance.DeriveKey(secret, commitment, nil), origin)
	defer drawer.Destroy()
	var p play.Play
	r := drawer.Draw(game, d.Version, player, 1, 0, nil)
	const stake = 100
	if err := p.Round(m, r, stake); err != nil {
		return nil, err
	}
	in := func(n int64) money.Money { return money.Money{Amount: n, Currency: "EUR"} }
	id := entry.NewUUID([16]byte{})
	head := entry.Header{Actor: "house", ID: id}
	result := p.Payout - stake
	settled := &rounds.Settled{
		Header: entry.Header{Actor: "session/" + id.String(), ID: id, Request: entry.Request{Key: [32]byte{1}}},
		Draw:   rounds.Draw{Epoch: 1, N: 1, Number: 1, R: r, Values: p.Values}, Enabled: 0, Game: game, Outcome: p.Outcome, Payout: in(p.Payout), Stake: in(stake), Player: player,
		Postings: []money.Posting{
			{Account: wallet.Hold(game), Amount: -result, Balance: -result, Currency: "EUR"},
			{Account: wallet.Cash(player), Amount: result, Balance: 1000 + result, Currency: "EUR"},
		},
	}
	enabled := &rounds.GameEnabled{Header: head, Definition: d.Canonical(), Engine: "slots", Game: game, Maths: d.Hash(), Release: d.Version}
	zeros := hex.EncodeToString(secret[:])
	leaves := make([][]byte, 5)
	if leaves[0], err = entry.Append(nil, enabled); err != nil {
		return nil, err
	}
	leaves[1] = fmt.Appendf(nil, `{"commitment":"%x","epoch":1,"policy":"none","type":"seed.committed.v2"}`, commitment)
	leaves[2] = []byte(`{"epoch":1,"external":"","policy":"none","type":"seed.activated.v2"}`)
	if leaves[3], err = entry.Append(nil, settled); err != nil {
		return nil, err
	}
	leaves[4] = fmt.Appendf(nil, `{"epoch":1,"salt":"%s","secret":"%s","type":"seed.revealed"}`, zeros, zeros)
	change(leaves)
	answers, err := answersOf(leaves, origin, func(c tlog.Checkpoint) ([]byte, error) { return tlog.Sign(c, signer) })
	if err != nil {
		return nil, err
	}
	return &Question{VKey: vkey, Answer: answers[3], More: []string{answers[0], answers[1], answers[2], answers[4]}}, nil
}

// answersOf makes a log of a few leaves and the answers that it gives.
func answersOf(leaves [][]byte, origin string, sign func(tlog.Checkpoint) ([]byte, error)) (answers []string, err error) {
	size := uint64(len(leaves))
	var hashes []tlog.Hash
	for _, leaf := range leaves {
		hashes = append(hashes, tlog.LeafHash(leaf))
	}
	tree, err := tlog.NewTree(size, nil, hashes)
	if err != nil {
		return nil, err
	}
	root, err := tree.Root(size)
	if err != nil {
		return nil, err
	}
	checkpoint, err := sign(tlog.Checkpoint{Origin: origin, Size: size, Root: root})
	if err != nil {
		return nil, err
	}
	for i, leaf := range leaves {
		proof, err := tree.Inclusion(nil, uint64(i), size)
		if err != nil {
			return nil, err
		}
		receipt := strings.ReplaceAll(string(tlog.AppendReceipt(nil, uint64(i), proof, checkpoint)), "\n", `\n`)
		answers = append(answers, fmt.Sprintf(`{"index":%d,"leaf":%s,"receipt":"%s"}`, i, leaf, receipt))
	}
	return answers, nil
}
