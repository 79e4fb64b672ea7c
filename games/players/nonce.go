package players

import (
	"slices"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// NonceSet is a player's standing nonce ("player.nonce-set"). It enters all of his
// draws from an epoch on whose secret is not made yet, so that the house could
// not choose the secret for what it would give him.
type NonceSet struct {
	entry.Header
	Epoch  uint64 // the first that it counts in
	Nonce  [32]byte
	Player entry.Ref
}

// Type is "player.nonce-set".
func (*NonceSet) Type() string { return "player.nonce-set" }

// Code visits the members.
func (r *NonceSet) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("epoch", &r.Epoch)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("nonce", r.Nonce[:])
	c.Hex("player", r.Player[:])
	c.Is("type", r.Type())
}

// Nonce is a standing nonce and the epoch from which on it counts.
type Nonce struct {
	Epoch uint64
	Nonce [32]byte
}

// noncesMost is how many can be of use: of the epoch in use, of the one that is
// committed, and of all later ones.
const noncesMost = 3

func codeNonces(c *entry.Coder, list *[]Nonce) {
	if !c.Optional("nonces", len(*list) > 0) {
		*list = nil
		return
	}
	entry.List(c, "nonces", list, noncesMost, func(c *entry.Coder, n *Nonce) {
		c.Object("")
		c.Uint("epoch", &n.Epoch)
		c.Hex("nonce", n.Nonce[:])
		c.End()
	})
}

// NonceAt returns the standing nonce in an epoch, or nothing.
func (p *Player) NonceAt(epoch uint64) []byte {
	for i := len(p.Nonces) - 1; i >= 0; i-- {
		if p.Nonces[i].Epoch <= epoch {
			return p.Nonces[i].Nonce[:]
		}
	}
	return nil
}

// SetNonce applies a NonceSet. next is the first epoch that is not committed to,
// oldest the first that can still draw.
func SetNonce(rows book.Rows, r *NonceSet, next, oldest uint64) error {
	s, err := Live(rows, r.Actor, r.At)
	if err != nil {
		return book.Broken("nonce-session", "a session that can be played in as actor", r.Actor+": "+err.Error())
	}
	if s.Player != r.Player {
		return book.Broken("nonce-session", "the session's player", r.Player)
	}
	p, err := MayPlay(rows, r.Player)
	if err != nil {
		return book.Broken("player-state", "an account in a state that allows this", err)
	}
	if r.Epoch != next {
		return book.Broken("nonce-epoch", next, r.Epoch)
	}
	changed := *p
	list := slices.Clone(p.Nonces)
	if n := len(list); n > 0 && list[n-1].Epoch == next {
		list = list[:n-1] // it was set anew before any epoch had it
	}
	for len(list) > 1 && list[1].Epoch <= oldest {
		list = list[1:]
	}
	changed.Nonces = append(list, Nonce{Epoch: next, Nonce: r.Nonce})
	rows.Put(PlayerKey(r.Player), &changed)
	return nil
}
