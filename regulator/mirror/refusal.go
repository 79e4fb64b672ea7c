package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify"
)

// Reasons why a round came to nothing. Those of package evidence stand beside them.
const (
	Unreachable  = "unreachable"
	Slow         = "slow"
	Token        = "token" // entries are not for us
	Redirected   = "redirected"
	Missing      = "missing" // what a signed head needs is not there
	Long         = "too-long"
	Malformed    = "malformed"
	Signature    = "signature"
	Cosignatures = "cosignatures"
	Disk         = "disk"
)

// Refusal says why a round came to nothing. What was kept before is still there.
type Refusal struct {
	Reason   string
	Err      error
	Evidence *evidence.File // against what was served, if there is any
	File     string         // where that was written
}

func (r *Refusal) Error() string { return r.Reason + ": " + r.Err.Error() }

func (r *Refusal) Unwrap() error { return r.Err }

var errCosignatures = errors.New("cosignatures of witnesses")

// errDisk is wrapped by what goes wrong with the directory.
var errDisk = errors.New("the mirror's directory")

// badEntries says that a bundle's entries are not the leaves of their tile.
type badEntries struct {
	path            string
	data            []byte
	expected, found tlog.Hash
}

func (e *badEntries) Error() string {
	return fmt.Sprintf("%s: an entry has the hash %x, and its leaf %x", e.path, e.found, e.expected)
}

// ReasonOf names what went wrong with a source.
func ReasonOf(err error) string {
	switch {
	case errors.Is(err, errDisk):
		return Disk
	case errors.Is(err, errSlow), errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return Slow
	case errors.Is(err, verify.ErrLong):
		return Long
	case errors.Is(err, verify.ErrRedirected):
		return Redirected
	case errors.Is(err, verify.ErrToken):
		return Token
	case errors.Is(err, fs.ErrNotExist):
		return Missing
	case errors.Is(err, errCosignatures):
		return Cosignatures
	case errors.Is(err, tlog.ErrSignature):
		return Signature
	case errors.Is(err, tlog.ErrFormat), errors.Is(err, tlog.ErrRange):
		return Malformed
	}
	return Unreachable
}

// refuse names what went wrong, and keeps the evidence of it.
func (m *Mirror) refuse(err error) error {
	r := new(Refusal)
	var tile *evidence.BadTile
	var entries *badEntries
	switch {
	case errors.As(err, &r):
	case errors.As(err, &tile):
		*r = Refusal{Reason: evidence.BadData, Err: err}
		r.Evidence = evidence.Bad(m.signers(), m.cfg.Clock(), m.headOf(tile.Head), tile.Path, tile.Data, fmt.Sprintf("%x", tile.Want), fmt.Sprintf("%x", tile.Found))
	case errors.As(err, &entries):
		*r = Refusal{Reason: evidence.BadData, Err: err}
		r.Evidence = evidence.Bad(m.signers(), m.cfg.Clock(), m.accepted, entries.path, entries.data, fmt.Sprintf("%x", entries.expected), fmt.Sprintf("%x", entries.found))
	default:
		*r = Refusal{Reason: ReasonOf(err), Err: err}
	}
	m.counts.change(func(n *Counts) { n.Refusals[r.Reason]++ })
	if r.Evidence != nil {
		m.alarms++
		// A fork that grows is another one at each look.
		if last, ok := m.kept[r.Reason]; ok && m.cfg.Clock().Sub(last.at) < m.cfg.Keep {
			r.Evidence, r.File = last.file, last.name
			return r
		}
		if r.File, err = m.Keep(r.Evidence); err != nil {
			r.Err = fmt.Errorf("%w (the evidence could not be kept: %w)", r.Err, err)
			return r
		}
		m.kept[r.Reason] = kept{m.cfg.Clock(), r.Evidence, r.File}
	}
	return r
}

// kept is evidence of one kind that was kept last.
type kept struct {
	at   time.Time
	file *evidence.File
	name string
}

// headOf returns the signed note of a head that is being worked on.
func (m *Mirror) headOf(c tlog.Checkpoint) evidence.Head {
	for _, h := range []*evidence.Head{&m.offered, &m.accepted, m.head.Load()} {
		if h != nil && h.Note != nil && h.Checkpoint == c {
			return *h
		}
	}
	return evidence.Head{Checkpoint: c, From: m.cfg.From}
}

// evidenceMost bounds the files of evidence: a hostile server has no end of it.
const evidenceMost = 256

// Keep writes an evidence file, once, for the eyes of the mirror's owner: there may
// be entries in it.
func (m *Mirror) Keep(f *evidence.File) (string, error) {
	name := filepath.Join("evidence", f.Name())
	if _, err := os.Lstat(m.path(name)); err == nil {
		return m.path(name), nil
	}
	kept, err := m.evidenceFiles()
	if err != nil {
		return "", err
	}
	if len(kept) >= evidenceMost {
		return "", fmt.Errorf("there are %d files of evidence already", len(kept))
	}
	b, err := f.Append(nil)
	if err != nil {
		return "", err
	}
	if err := m.write(name, b, 0o600); err != nil {
		return "", err
	}
	m.counts.change(func(n *Counts) { n.Evidence = len(kept) + 1 })
	return m.path(name), m.sync()
}
