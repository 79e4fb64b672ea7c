package house

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"countroom/games/certificates"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/rngcert/assessment"

	"github.com/sigstore/sigstore/pkg/signature"
	sigstore "github.com/sigstore/sigstore/pkg/signature/dsse"
)

// blobPart is how much of a blob one row of the vault holds. It is not encrypted: whoever may read entries may read it.
const blobPart = 256 << 10

func blobKey(digest [32]byte, part int) string {
	return fmt.Sprintf("vault/blob/%x/%02d", digest, part)
}

// BlobMost bounds a blob, in bytes.
const BlobMost = 16 * blobPart

// putBlob keeps what an entry of the command names by its digest.
func putBlob(tx *ledger.Tx, data []byte) {
	digest := sha256.Sum256(data)
	for part := 0; len(data) > 0; part++ {
		n := min(len(data), blobPart)
		tx.PutVault(blobKey(digest, part), data[:n:n])
		data = data[n:]
	}
}

// Blob returns what an entry names by its digest, or ledger.ErrNotFound.
func (h *House) Blob(ctx context.Context, digest [32]byte) (data []byte, err error) {
	for part := 0; ; part++ {
		var row *ledger.VaultRow
		err := h.ledger.View(ctx, func(rows book.Reader) error {
			row = book.Get[ledger.VaultRow](rows, blobKey(digest, part))
			return nil
		})
		if err != nil {
			return nil, err
		}
		switch {
		case row != nil && len(row.Value) > 0:
			data = append(data, row.Value...)
		case part == 0:
			return nil, ledger.ErrNotFound
		default:
			return data, nil
		}
	}
}

// errReport refuses a report that is not about this house as it runs.
var errReport = errors.New("the report is not about this house")

// Assess puts an examination of the house's chance into the log: the report and the statement about it and its page,
// which the key for exports signs. It returns the statement in its bundle.
func (h *House) Assess(ctx context.Context, reported, page []byte) (r ledger.Receipt, bundle []byte, err error) {
	e, payload, err := assessment.New(reported, page)
	if err != nil {
		return r, nil, err
	}
	if err := e.CheckReport(h.cfg.Origin, reported); err != nil {
		return r, nil, err
	}
	program, configuration, err := h.looked()
	if err != nil {
		return r, nil, err
	}
	if e.Program != program || e.Configuration != configuration {
		return r, nil, fmt.Errorf("%w: it is of program %x and configuration %x, expected %x and %x", errReport, e.Program, e.Configuration, program, configuration)
	}
	if bundle, err = h.Sign(ctx, payload); err != nil {
		return r, nil, err
	}
	e.Header, e.Bundle = byHouse(), sha256.Sum256(bundle)
	r, err = h.ledger.Update(ctx, ledger.Command{Run: func(tx *ledger.Tx) error {
		putBlob(tx, bundle)
		putBlob(tx, reported)
		_, err := tx.Answer(e)
		return err
	}})
	return r, bundle, err
}

// exports is the key for exports that the log has in force.
func (h *House) exports(ctx context.Context) (signature.Signer, error) {
	s := h.cfg.Exports
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		if k := keys.Current(rows, system.RoleExports); k != nil {
			if at := h.ring.signer(k.Public); at != nil {
				s = at
			}
		}
		return nil
	})
	if err == nil && s == nil {
		err = errors.New("this house has no key for exports")
	}
	return s, err
}

// Sign has the key for exports sign a statement, and puts it into a bundle.
func (h *House) Sign(ctx context.Context, payload []byte) ([]byte, error) {
	exports, err := h.exports(ctx)
	if err != nil {
		return nil, err
	}
	public, err := exports.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("exports key: %w", err)
	}
	key, err := dsse.KeyOf(public)
	if err != nil {
		return nil, fmt.Errorf("exports key: %w", err)
	}
	signed, err := sigstore.WrapSigner(exports, dsse.PayloadType).SignMessage(bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("exports key: %w", err)
	}
	e, err := dsse.Parse(signed)
	if err != nil {
		return nil, err
	}
	if err := e.Verify(key); err != nil { // a device may be wrong
		return nil, fmt.Errorf("exports key: %w", err)
	}
	return dsse.Bundle(e, key), nil
}

// InPlay returns the definitions of the games that are enabled.
func (h *House) InPlay(ctx context.Context) (list []*slots.Definition, err error) {
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		list = nil
		all := book.Get[rounds.Games](rows, rounds.GamesKey)
		if all == nil {
			return nil
		}
		in := certificates.InPlay(rows)
		for _, id := range all.IDs {
			maths, on := in[id]
			if !on {
				continue
			}
			g, ok := h.machines.Load(maths)
			if !ok {
				return fmt.Errorf("game %s: its definition is not loaded", id)
			}
			list = append(list, g.(*game).machine.Definition())
		}
		return nil
	})
	return list, err
}

// Recognise has the house go by a laboratory's certificates. Where there are two officers, two approve of it.
func (h *House) Recognise(ctx context.Context, req Request, name, public string, approvals []officers.Approval) (ledger.Receipt, error) {
	if _, err := dsse.ParseKey(public); err != nil {
		return h.Refuse(ctx, req, nil, err)
	}
	r := &certificates.Recognised{Approvals: approvals, Laboratory: name, Public: public}
	r.Actor = officers.Actor(r)
	return h.update(ctx, ledger.Command{Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		if book.Get[certificates.Laboratory](tx, certificates.LaboratoryKey(name)) != nil {
			return certificates.ErrRecognised
		}
		_, err := tx.Answer(r)
		return err
	}})
}

// ImportCertificate puts a laboratory's certificate into the log.
func (h *House) ImportCertificate(ctx context.Context, req Request, signed []byte) (ledger.Receipt, error) {
	e, c, err := certificates.Read(signed)
	if err != nil {
		return h.Refuse(ctx, req, nil, err)
	}
	r := &certificates.Certified{Header: byOperator(), Certificate: *c, Blob: sha256.Sum256(signed)}
	return h.update(ctx, ledger.Command{Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		if err := certificates.Check(tx, r, tx.At()); err != nil {
			return err
		}
		laboratory := book.Get[certificates.Laboratory](tx, certificates.LaboratoryKey(c.Laboratory))
		key, err := dsse.ParseKey(laboratory.Public)
		if err != nil {
			return err
		}
		if err := e.Verify(key); err != nil {
			return err
		}
		putBlob(tx, signed)
		_, err = tx.Answer(r)
		return err
	}})
}

// Certification is what the log has of a game in play.
type Certification struct {
	Game, Release string
	Maths         [32]byte
	InForce       bool
	List          []certificates.Certified // that are not over
}

// Certifications tells whether the house is in production, and of the certificates that its games have for the
// running program.
func (h *House) Certifications(ctx context.Context) (production bool, list []Certification, err error) {
	games, err := h.InPlay(ctx)
	if err != nil {
		return false, nil, err
	}
	indices := make([][]uint64, len(games))
	now := h.ledger.Now()
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		s := certificates.Now(rows)
		production, list = s.Production, nil
		for i, d := range games {
			c := Certification{Game: d.ID, Release: d.Version, Maths: d.Hash()}
			if p := book.Get[certificates.Periods](rows, certificates.PeriodsKey(d.ID, c.Maths, s.Running)); p != nil {
				for _, p := range p.List {
					if now < p.Expires {
						indices[i] = append(indices[i], p.Index)
						c.InForce = c.InForce || p.Begins <= now
					}
				}
			}
			list = append(list, c)
		}
		return nil
	})
	if err != nil {
		return false, nil, err
	}
	for i := range list {
		for _, index := range indices[i] {
			e, err := h.ledger.Entry(index)
			if err != nil {
				return false, nil, err
			}
			var r certificates.Certified
			if err := entry.Decode(e.Leaf, &r); err != nil {
				return false, nil, fmt.Errorf("entry %d: %w", index, err)
			}
			list[i].List = append(list[i].List, r)
		}
	}
	return production, list, nil
}

// lookEvery is how often the process looks at its own program.
const lookEvery = 24 * time.Hour

func (h *House) looked() (program, configuration [32]byte, err error) {
	if h.cfg.Look == nil {
		return program, configuration, errors.New("this house cannot look at its own program")
	}
	program, configuration, err = h.cfg.Look()
	if err != nil {
		err = fmt.Errorf("looking at the program: %w", err)
	}
	return program, configuration, err
}

// found is the entry about what the process finds itself to be, but for its games.
func (h *House) found(reason string) (*certificates.Verified, error) {
	program, configuration, err := h.looked()
	return &certificates.Verified{Header: byHouse(), Configuration: configuration, Node: h.cfg.Node, Program: program, Reason: reason}, err
}

// verified appends it, with the games as they are in memory, and an alarm where something is not as it should be.
func (h *House) verified(tx *ledger.Tx, r *certificates.Verified) error {
	loaded := map[string][32]byte{}
	for id, maths := range certificates.InPlay(tx) {
		loaded[id] = [32]byte{}
		if g, ok := h.machines.Load(maths); ok {
			loaded[id] = g.(*game).machine.Definition().Hash()
		}
	}
	r.Games = certificates.GamesHash(loaded)
	r.Matches = certificates.Matches(tx, r)
	if _, err := tx.Append(r); err != nil || r.Matches {
		return err
	}
	_, err := tx.Append(&system.AlarmRaised{Header: byHouse(), About: r.Program, Alarm: system.AlarmSoftware, Count: 1})
	return err
}

// SelfCheck looks at the program, the configuration and the games, and says in the log what it found.
func (h *House) SelfCheck(ctx context.Context, reason string) (*certificates.Verified, error) {
	r, err := h.found(reason)
	if err != nil {
		return nil, err
	}
	if _, err = h.ledger.Update(ctx, ledger.Command{Run: func(tx *ledger.Tx) error { return h.verified(tx, r) }}); err != nil {
		return nil, err
	}
	if !r.Matches {
		h.cfg.Log.Error("program, configuration or games are not what they should be; in production play stops", "program", hex.EncodeToString(r.Program[:]), "configuration", hex.EncodeToString(r.Configuration[:]))
	}
	return r, nil
}

// lookDaily looks every day, and again soon where it could not.
func (h *House) lookDaily() {
	defer h.done.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	wait := lookEvery
	for {
		select {
		case <-time.After(wait):
		case <-h.quit:
			return
		}
		wait = lookEvery
		if _, err := h.SelfCheck(ctx, certificates.ByDay); err != nil {
			h.cfg.Log.Error("the house could not look at its own program", "error", err)
			wait = time.Minute
		}
	}
}
