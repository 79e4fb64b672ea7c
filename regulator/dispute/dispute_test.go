package dispute_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/regulator/dispute"
	"countroom/regulator/portal"
	"countroom/regulator/replay"
	"countroom/regulator/verify/logtest"
)

// packed is a house with one round, and that round's pack.
func packed(t testing.TB) (h *housetest.House, id entry.UUID, pack []byte) {
	t.Helper()
	h = housetest.Open(t, t.TempDir())
	key := 0
	request := func(path, principal string) house.Request {
		key++
		return house.Request{Key: fmt.Sprint("key ", key), Method: "POST", Path: path, Principal: principal, Body: []byte("{}")}
	}
	ctx := t.Context()
	_, err := h.CreatePlayer(ctx, request("/v1/players", "operator"), "alice", "EUR")
	if err == nil {
		_, err = h.Deposit(ctx, request("/v1/players/alice/deposits", "operator"), "alice", money.Money{Amount: 1000, Currency: "EUR"})
	}
	var token string
	if err == nil {
		_, _, token, err = h.OpenSession(ctx, request("/v1/sessions", "operator"), "alice", "lamplight-quay")
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Seat(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.Spin(ctx, request("/v1/spins", s.Principal()), s, 100)
	if err != nil {
		t.Fatal(err)
	}
	id = r.Record.Head().ID
	p := portal.New(portal.Config{Ledger: h.Ledger, Groups: house.PlayerGroups, Ready: h.Ready, Sign: h.Sign, Log: slog.New(slog.DiscardHandler)})
	if pack, err = p.Pack(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	return h, id, pack
}

func TestAPackIsTheHousesOrNone(t *testing.T) {
	h, id, pack := packed(t)
	p, err := dispute.Check(pack, h.Ledger.VKey())
	if err != nil || p.Round != id.String() || p.Report.Verdict() == replay.Fails {
		t.Fatalf("a good pack: %+v, %v", p, err)
	}
	page, _, _ := bytes.Cut(pack, []byte("\n<!-- the signature"))
	sign := func(payload []byte) ([]byte, error) { return h.Sign(t.Context(), payload) }
	for name, c := range map[string]struct {
		said dispute.Said
		page []byte
	}{
		"of another round":   {dispute.Said{Origin: p.Origin, Round: "another", Index: p.Index, Size: p.Size}, page},
		"of another entry":   {dispute.Said{Origin: p.Origin, Round: p.Round, Index: p.Index - 1, Size: p.Size}, page},
		"of another house":   {dispute.Said{Origin: "other", Round: p.Round, Index: p.Index, Size: p.Size}, page},
		"without the answer": {p.Said, []byte("<p>trust me")},
	} {
		sealed, err := dispute.Seal(c.page, c.said, sign)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := dispute.Check(sealed, h.Ledger.VKey()); err == nil {
			t.Errorf("a pack %s is good: %+v", name, p)
		}
	}
	if _, err := dispute.Seal(pack, p.Said, nil); !errors.Is(err, dispute.ErrFormat) {
		t.Errorf("a pack in a pack: %v", err)
	}
	other, _, _ := packed(t)
	stolen, err := dispute.Seal(page, p.Said, func(payload []byte) ([]byte, error) { return other.Sign(t.Context(), payload) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dispute.Check(stolen, h.Ledger.VKey()); !errors.Is(err, dsse.ErrSignature) {
		t.Errorf("a pack that another house signed: %v", err)
	}
	lying := bytes.Replace(page, []byte("&#34;n&#34;:1,"), []byte("&#34;n&#34;:2,"), 1)
	if bytes.Equal(lying, page) {
		t.Fatal("nothing was changed")
	}
	sealed, err := dispute.Seal(lying, p.Said, sign)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := dispute.Check(sealed, h.Ledger.VKey()); err == nil {
		t.Errorf("a signed pack with an answer that proves nothing is good: %+v", p)
	}
}

// A pack whose draw follows from a nonce proves it only if that nonce was the player's, and was to count then.
func TestANonceOfAPackIsThePlayers(t *testing.T) {
	for _, c := range []struct {
		name   string
		tamper func(r *players.NonceSet)
		want   replay.State
	}{
		{"the player's", nil, replay.Holds},
		{"another player's", func(r *players.NonceSet) { r.Player[0] ^= 1 }, replay.Open},
		{"one that was set after the seed was made", nil, replay.Open},
		{"one of a later epoch", func(r *players.NonceSet) { r.Epoch += 100 }, replay.Open},
	} {
		h := logtest.New(logtest.Config{Seed: 7, Step: 20 * time.Second})
		who := []logtest.Player{h.Join(100_000)}
		h.Play(who, 5)
		h.TamperLeaf = func(_ uint64, leaf []byte) []byte { // the books hold what the house goes by
			r := new(players.NonceSet)
			if err := entry.Decode(leaf, r); err != nil {
				t.Fatal(err)
			}
			if c.tamper != nil {
				c.tamper(r)
			}
			leaf, err := entry.Append(nil, r)
			if err != nil {
				t.Fatal(err)
			}
			return leaf
		}
		set := h.SetNonce(who[0])
		h.TamperLeaf = nil
		h.Play(who, 60)
		index := h.Spin(who[0], 20)
		h.Play(who, 60)
		round := new(rounds.Settled)
		if strings.Contains(c.name, "after the seed") {
			nonce := new(players.NonceSet)
			if err := entry.Decode(h.Leaf(set), nonce); err != nil {
				t.Fatal(err)
			}
			set = h.Append(nonce)
		}
		if err := entry.Decode(h.Leaf(index), round); err != nil {
			t.Fatal(err)
		}
		page := "<p>all is well</p>"
		for _, at := range append(seedOf(h, round.Draw.Epoch), 0, round.Enabled, set, index) {
			page += dispute.Answer(string(h.Answer(at)))
		}
		pack, err := dispute.Seal([]byte(page), dispute.Said{Origin: h.Origin(), Round: round.ID.String(), Index: index, Size: h.Size()}, h.SignExport)
		if err != nil {
			t.Fatal(err)
		}
		p, err := dispute.Check(pack, h.VKey)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Report.Verdict(); got != c.want {
			t.Errorf("with a nonce that is %s the pack is %s: %+v", c.name, got, p.Report.Steps)
		}
	}
}

// seedOf are the entries of a seed epoch.
func seedOf(h *logtest.House, n uint64) (list []uint64) {
	for index := range h.Size() {
		leaf := string(h.Leaf(index))
		if strings.Contains(leaf, `"type":"seed.`) && strings.Contains(leaf, fmt.Sprintf(`"epoch":%d,`, n)) {
			list = append(list, index)
		}
	}
	return list
}

func FuzzCheck(f *testing.F) {
	h, _, good := packed(f)
	vkey := h.Ledger.VKey()
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("answer"), []byte("anwser"), 3))
	f.Add([]byte("\n<!-- the signature is over everything above this line -->\n"))
	f.Add([]byte(strings.Repeat(`<pre class="answer">`, 3)))
	f.Fuzz(func(t *testing.T, pack []byte) {
		if p, err := dispute.Check(pack, vkey); err == nil && !bytes.Equal(pack, good) {
			t.Errorf("another pack is good: %+v", p)
		}
	})
}
