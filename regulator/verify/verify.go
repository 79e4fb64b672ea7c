// Package verify checks the log of a house without trusting the house: it
// replays every entry by the rules that the house itself runs on, recomputes
// every outcome from its draw and every draw from its revealed seed, and holds
// the result against the signed checkpoint and against what outsiders kept.
//
// It tells evidence against the house (a Finding) from not having been able to
// look (an error).
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/rngcert/escrow"
)

// ErrUnchecked is wrapped by every error that says what could not be checked,
// and why. It is no evidence against the house.
var ErrUnchecked = errors.New("could not check")

func unchecked(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnchecked, fmt.Errorf(format, args...))
}

// Options say what to check a log against.
type Options struct {
	VKey  string // verifier key of the house's checkpoints (c2sp.org/signed-note)
	Known []Known
	// Opened are secrets of epochs that the house did not show.
	Opened []Opened
	// Seed is an epoch whose escrowed secret the report shall hold.
	Seed uint64

	// Subjects, if set, is given each subject.recorded and subject.erased, in the
	// order of the log, until an entry is met that breaks a rule of the books.
	Subjects func(index uint64, r entry.Record)

	Trust Trust // in witnesses of the checkpoint
	// Workers is how many bundles are fetched and worked on at once; 0 means
	// GOMAXPROCS. A source far away wants more.
	Workers int
	// Progress, if set, is called now and then with entries replayed and in all.
	Progress func(done, total uint64)
}

// Finding is evidence against the house: a rule that its signed log breaks.
type Finding struct {
	Index    uint64 `json:"index"` // of the entry; of a "tree" or "checkpoint" the size
	Type     string `json:"type"`  // of the entry, or "tree", "tile", "checkpoint", "receipt"
	Rule     string `json:"rule"`  // short and stable
	Expected string `json:"expected"`
	Found    string `json:"found"`
}

// FindingsMost is how many findings a report spells out.
const FindingsMost = 100

// Report is what a check of a log came to.
type Report struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"` // entries under the signed checkpoint
	Root   Hex    `json:"root"` // as signed

	Cosignatures Cosignatures `json:"cosignatures"` // of that checkpoint

	First entry.Time `json:"-"` // of the entries that the rules were held against
	Last  entry.Time `json:"-"`

	Replayed uint64            `json:"replayed"` // entries that all rules were held against
	Types    map[string]uint64 `json:"types"`    // how many of each among them
	Tiles    uint64            `json:"tiles"`    // hash tiles that the entries reproduced

	Keys    []KeyUse `json:"keys"` // of the house, in the order of the log
	Epochs  Epochs   `json:"epochs"`
	Outside Outside  `json:"outside"`
	Rounds  Rounds   `json:"rounds"`
	Games   []Totals `json:"games"`
	Cash    []Cash   `json:"cash"`
	Chance  []Chance `json:"chance"`

	Abandoned []Abandoned `json:"abandoned"` // epochs, in the order of the log
	Subjects  Subjects    `json:"subjects"`

	Known uint64 `json:"known"` // receipts and checkpoints of outsiders that were compared

	Seed *escrow.Box `json:"-"` // as Options ask for it, if the log has it

	Findings  []Finding `json:"findings"`
	More      uint64    `json:"more_findings"` // beyond FindingsMost
	Warnings  []string  `json:"warnings"`
	Unchecked []string  `json:"unchecked"` // what the findings kept from being checked
}

// MarshalJSON gives the report with its times in the log's own form.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	first, last := "", ""
	if r.Replayed > 0 {
		first, last = r.First.String(), r.Last.String()
	}
	return json.Marshal(struct {
		*plain
		First string `json:"first"`
		Last  string `json:"last"`
	}{(*plain)(r), first, last})
}

// OK reports whether nothing was found against the house.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

func (r *Report) find(f Finding) {
	if len(r.Findings) == FindingsMost {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}

// Hex is a hash that prints as lower-case hex.
type Hex tlog.Hash

func (h Hex) String() string { return fmt.Sprintf("%x", h[:]) }

// MarshalText is String.
func (h Hex) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// Epochs counts seed epochs by how far they came.
type Epochs struct {
	Committed uint64 `json:"committed"`
	Closed    uint64 `json:"closed"`
	Revealed  uint64 `json:"revealed"`         // their secrets fit what was committed to
	Opened    uint64 `json:"opened,omitempty"` // not revealed, and opened by others
	Abandoned uint64 `json:"abandoned"`        // whose secret two officers gave up
	// OneSource are those committed of which the house asks for no more than one
	// independent source of entropy: a demonstration.
	OneSource uint64 `json:"one_source"`
}

// Outside says what came from outside into the seeds of the epochs that came
// into use. That the beacon is the public one, and the witnesses are whom they
// say they are, is for the reader: the log can only say by which keys.
type Outside struct {
	None       uint64   `json:"none"` // the house can grind the secret
	Witness    uint64   `json:"witness"`
	Beacon     uint64   `json:"beacon"`
	Downgraded uint64   `json:"downgraded"` // among none: more was committed to
	Chains     []string `json:"chains,omitempty"`
	Witnesses  []string `json:"witnesses,omitempty"`
}

// Rounds counts rounds by what is known of their chance.
type Rounds struct {
	Proven     uint64 `json:"proven"`              // the draw follows from the revealed secret
	Unproven   uint64 `json:"not_yet_provable"`    // the epoch's secret is not out yet
	Unprovable uint64 `json:"unprovable"`          // it will never be: two officers abandoned the epoch
	Outcomes   uint64 `json:"outcomes_recomputed"` // integers, outcome and payout follow from the draw
}

// Totals is the play at one game in one currency, in minor units.
type Totals struct {
	Game     string `json:"game"`
	Currency string `json:"currency"`
	Rounds   uint64 `json:"rounds"`
	Stakes   Sum    `json:"stakes"`
	Payouts  Sum    `json:"payouts"`
}

// Cash is the money that came in and went out in one currency, in minor units.
type Cash struct {
	Currency    string `json:"currency"`
	Deposits    Sum    `json:"deposits"`
	Withdrawals Sum    `json:"withdrawals"`
}

// Chance is what the monitor of a game saw of its present release.
type Chance struct {
	Game      string `json:"game"`
	Rounds    uint64 `json:"rounds"`
	Alarms    uint64 `json:"alarms"`         // in the log
	Strongest string `json:"strongest"`      // component with the most evidence in the present window
	Evidence  int64  `json:"evidence_bits"`  // its evidence
	Threshold uint64 `json:"threshold_bits"` // at which there is an alarm
}

// Sum adds up amounts of the log without limit.
type Sum struct {
	low  int64
	high *big.Int
}

// add adds an amount within ±2^53.
func (s *Sum) add(amount int64) {
	if s.low += amount; s.low > 1<<62 || s.low < -1<<62 {
		s.high, s.low = s.Big(), 0
	}
}

// Big returns the sum.
func (s *Sum) Big() *big.Int {
	sum := big.NewInt(s.low)
	if s.high != nil {
		sum.Add(sum, s.high)
	}
	return sum
}

func (s Sum) String() string { return s.Big().String() }

// MarshalJSON gives a number.
func (s Sum) MarshalJSON() ([]byte, error) { return []byte(s.String()), nil }

func newReport() *Report {
	return &Report{Types: map[string]uint64{}, Keys: []KeyUse{}, Games: []Totals{}, Cash: []Cash{}, Chance: []Chance{}, Abandoned: []Abandoned{}, Findings: []Finding{}, Cosignatures: Cosignatures{Good: []Cosigned{}}, Warnings: []string{}, Unchecked: []string{}}
}

// Log checks a whole log. Evidence against the house is in the report's
// findings; an error, which is an ErrUnchecked or the context's, says that some
// of the log could not be checked, and the report holds what was.
func Log(ctx context.Context, src Source, opts Options) (*Report, error) {
	f, err := Follow(opts)
	if err != nil {
		return f.r.report, err
	}
	msg, err := src.Read(ctx, nil, "checkpoint", CheckpointMost)
	if err != nil {
		return f.r.report, unchecked("%w", err)
	}
	return f.Advance(ctx, src, msg)
}
