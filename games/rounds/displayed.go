package rounds

import "countroom/ledger/entry"

// Displayed is what a client says its player saw of a round
// ("round.displayed"): a claim, whose other side is Expected. Where the two
// differ, alarm.raised follows at once.
type Displayed struct {
	entry.Header
	Displayed [32]byte // SHA-256 of the displayed result, by the client
	Expected  [32]byte // the same of the round's outcome
	Player    entry.Ref
	Round     entry.UUID
}

// Type is "round.displayed".
func (*Displayed) Type() string { return "round.displayed" }

// Code visits the members.
func (r *Displayed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Hex("displayed", r.Displayed[:])
	c.Hex("expected", r.Expected[:])
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.UUID("round", &r.Round)
	c.Is("type", r.Type())
}

// Matches reports whether the player saw what the log has.
func (r *Displayed) Matches() bool { return r.Displayed == r.Expected }
