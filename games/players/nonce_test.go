package players_test

import (
	"testing"

	"countroom/games/players"
	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
)

// A nonce counts from the first epoch on that is not committed to, and those of
// epochs that draw no more are forgotten.
func TestStandingNonces(t *testing.T) {
	player, other := entry.Ref{1}, entry.Ref{2}
	rows := book.Memory{}
	fold := func(r entry.Record) {
		t.Helper()
		if err := players.Fold(rows, r); err != nil {
			t.Fatal(err)
		}
	}
	id := entry.NewUUID([16]byte{7})
	fold(&players.Created{Currency: "EUR", Player: player})
	fold(&players.SessionOpened{Header: entry.Header{At: 1, ID: id}, Expires: 1000, Game: "g", Player: player})
	set := func(epoch uint64, nonce byte, next, oldest uint64) error {
		return players.SetNonce(rows, &players.NonceSet{Header: entry.Header{Actor: players.SessionKey(id), At: 2}, Epoch: epoch, Nonce: [32]byte{nonce}, Player: player}, next, oldest)
	}
	at := func(epoch uint64) byte {
		if n := book.Get[players.Player](rows, players.PlayerKey(player)).NonceAt(epoch); n != nil {
			return n[0]
		}
		return 0
	}
	for _, c := range []struct {
		next, oldest uint64
		nonce        byte
		want         [6]byte // in epochs 0 to 5
		rows         int
	}{
		{2, 1, 'a', [6]byte{0, 0, 'a', 'a', 'a', 'a'}, 1}, // epoch 1 is committed or in use
		{2, 1, 'b', [6]byte{0, 0, 'b', 'b', 'b', 'b'}, 1}, // another, before there is an epoch 2
		{3, 1, 'c', [6]byte{0, 0, 'b', 'c', 'c', 'c'}, 2}, // epoch 1 in use, 2 committed
		{4, 2, 'd', [6]byte{0, 0, 'b', 'c', 'd', 'd'}, 3},
		{5, 4, 'e', [6]byte{0, 0, 0, 0, 'd', 'e'}, 2}, // what epochs 2 and 3 had is of no use
	} {
		if err := set(c.next, c.nonce, c.next, c.oldest); err != nil {
			t.Fatalf("%c: %v", c.nonce, err)
		}
		for epoch, want := range c.want {
			if got := at(uint64(epoch)); got != want {
				t.Errorf("after %c epoch %d has %q, want %q", c.nonce, epoch, got, want)
			}
		}
		row := book.Get[players.Player](rows, players.PlayerKey(player))
		if len(row.Nonces) != c.rows {
			t.Errorf("after %c the row keeps %d", c.nonce, len(row.Nonces))
		}
		b, err := entry.AppendObject(nil, row)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := players.Kinds.Decode(players.PlayerKey(player), b); err != nil {
			t.Error(err)
		}
	}
	fold(&players.StateChanged{Player: player, State: players.Suspended})
	booktest.Breaks(t, set(5, 'x', 5, 4), "player-state")
	fold(&players.StateChanged{Player: player, State: players.Open})
	if at(5) != 'e' {
		t.Error("a change of state lost the nonce")
	}
	booktest.Breaks(t, set(6, 'x', 5, 4), "nonce-epoch")
	booktest.Breaks(t, set(4, 'x', 5, 4), "nonce-epoch")
	r := &players.NonceSet{Header: entry.Header{Actor: players.SessionKey(id), At: 2}, Epoch: 5, Player: other}
	booktest.Breaks(t, players.SetNonce(rows, r, 5, 4), "nonce-session")
	r.Player, r.Actor = player, "operator"
	booktest.Breaks(t, players.SetNonce(rows, r, 5, 4), "nonce-session")
	r.Actor, r.At = players.SessionKey(id), 1000
	booktest.Breaks(t, players.SetNonce(rows, r, 5, 4), "nonce-session")
}
