// Package watch follows houses for a regulator or an auditor: it holds each new
// checkpoint against the last, goes through each new entry with all rules, compares
// what different places show of one log, and says once what it finds. It listens on
// nothing.
//
// What it saw of a log is kept as a mirror (package mirror), so that a restart
// goes through it again without asking the house, and a fork leaves evidence that
// anybody can check.
package watch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"countroom/regulator/evidence"
	"countroom/regulator/mirror"
	"countroom/regulator/verify"
)

// House is a log to be watched.
type House struct {
	VKey string
	// Points are where it is shown. The first is followed, the others are compared
	// with it.
	Points []Point
	Leaves bool // the first lets us have its entries
}

// Point is somebody who shows heads of a log.
type Point struct {
	Name   string // such as its URL
	Source verify.Source
	// Witness shows no more than the head that it cosigned last.
	Witness bool
}

// Config is what is watched, and how.
type Config struct {
	Dir    string
	Houses []House
	Trust  verify.Trust // in witnesses of the first point's heads
	// Silence is how long a log may go without growing; 0 is for ever.
	Silence time.Duration
	Webhook string
	Metrics string // file for Prometheus, "" for none
	Workers int

	Turn             time.Duration // of a house in one round, default two minutes
	Patience, Settle time.Duration // as of mirror.Config
	Clock            func() time.Time
	Log              *slog.Logger
}

// failuresMost is how many rounds in a row may come to nothing before it is an
// alarm, and a point may be ahead of the house.
const failuresMost = 3

const (
	// turnMost is Config.Turn by default, catchUpMost how long it may take in all
	// until a house was seen to the end, and postsMost the time for all alerts.
	turnMost    = 2 * time.Minute
	catchUpMost = 6 * time.Hour
	postsMost   = 30 * time.Second
)

// Watch is an open watch. Round is for one goroutine.
type Watch struct {
	cfg    Config
	houses []*house
	teller *teller
}

// house is a log on the way.
type house struct {
	House
	cfg      *Config
	tell     func(Alert)
	mirror   *mirror.Mirror
	follower *verify.Follower
	points   []*point

	// What the last round came to.
	report     *verify.Report
	failed     error // it was not seen to the end
	unfinished error // what the report could not check, which lasts until the log grows
	grown      time.Time
	fails      int
	said       map[string]bool // findings and warnings
	active     map[string]bool // alarms, by kind and point
	looked     time.Time
	seen       time.Time // when it was last seen to the end, or the start
	size       uint64
	checked    uint64
}

// Open opens what an earlier watch knew.
func Open(ctx context.Context, cfg Config) (_ *Watch, err error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if len(cfg.Houses) == 0 {
		return nil, errors.New("expected a house to watch")
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	w := &Watch{cfg: cfg}
	if w.teller, err = newTeller(cfg.Dir, cfg.Webhook, w.say); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	for _, h := range cfg.Houses {
		one, err := w.open(ctx, h)
		if err != nil {
			return nil, err
		}
		w.houses = append(w.houses, one)
	}
	return w, nil
}

func (w *Watch) say(a Alert) {
	level := slog.LevelError
	if a.Severity == Resolved {
		level = slog.LevelInfo
	}
	w.cfg.Log.Log(context.Background(), level, a.Text, "origin", a.Origin, "severity", a.Severity, "kind", a.Kind, "point", a.Point, "evidence", a.File)
}

func (w *Watch) open(ctx context.Context, h House) (*house, error) {
	if len(h.Points) == 0 || h.Points[0].Witness {
		return nil, errors.New("expected the URL of a house or a mirror first")
	}
	one := &house{House: h, cfg: &w.cfg, tell: w.teller.tell, said: map[string]bool{}, active: map[string]bool{}, grown: w.cfg.Clock(), seen: w.cfg.Clock()}
	var err error
	if one.follower, err = verify.Follow(verify.Options{VKey: h.VKey, Trust: w.cfg.Trust, Workers: w.cfg.Workers}); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(h.VKey))
	one.mirror, err = mirror.Open(ctx, mirror.Config{
		Dir: filepath.Join(w.cfg.Dir, hex.EncodeToString(sum[:8])), Source: h.Points[0].Source, From: h.Points[0].Name, VKeys: []string{h.VKey},
		Trust: w.cfg.Trust, Leaves: h.Leaves, Workers: w.cfg.Workers, Patience: w.cfg.Patience, Settle: w.cfg.Settle, Clock: w.cfg.Clock, Log: w.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range h.Points[1:] {
		one.points = append(one.points, &point{Point: p})
	}
	// What was kept and perhaps not told.
	kept, err := filepath.Glob(filepath.Join(w.cfg.Dir, hex.EncodeToString(sum[:8]), "evidence", "*.json"))
	for _, name := range kept {
		b, bad := os.ReadFile(name)
		if bad != nil {
			return nil, bad
		}
		f, bad := evidence.Parse(b)
		if bad != nil {
			w.cfg.Log.Error("a file of evidence is damaged", "file", name, "error", bad)
			continue
		}
		one.evidence(f.Kind, "", "evidence that was kept at "+f.SeenAt, f, name)
	}
	return one, err
}

// Close lets another process have the directory.
func (w *Watch) Close() error {
	var errs []error
	for _, h := range w.houses {
		errs = append(errs, h.mirror.Close())
	}
	return errors.Join(errs...)
}

// Result is what a round came to.
type Result struct {
	// Evidence counts what is evidence, told now or before.
	Evidence int
	// Unchecked says what could not be looked at, nil when everything was.
	Unchecked error
}

// Reports returns what the last rounds say of the houses, nil where a house was
// not gone through yet.
func (w *Watch) Reports() (all []*verify.Report) {
	for _, h := range w.houses {
		all = append(all, h.report)
	}
	return all
}

// Round looks at everything once, all houses at the same time.
func (w *Watch) Round(ctx context.Context) Result {
	var running sync.WaitGroup
	for _, h := range w.houses {
		running.Go(func() { h.round(ctx) })
	}
	running.Wait()
	var r Result
	var errs []error
	for _, h := range w.houses {
		if h.failed != nil {
			errs = append(errs, fmt.Errorf("%s: %w", h.mirror.Origin(), h.failed))
		}
		if h.unfinished != nil {
			errs = append(errs, fmt.Errorf("%s: %w", h.mirror.Origin(), h.unfinished))
		}
		for _, p := range h.points {
			if p.failed != nil {
				errs = append(errs, fmt.Errorf("%s at %s: %w", h.mirror.Origin(), p.Name, p.failed))
			}
		}
	}
	posting, cancel := context.WithTimeout(ctx, postsMost)
	defer cancel()
	if err := w.teller.deliver(posting); err != nil {
		w.cfg.Log.Error("an alert did not arrive; it is sent again", "error", err)
		errs = append(errs, err)
	}
	if w.cfg.Metrics != "" {
		if err := w.writeMetrics(); err != nil {
			w.cfg.Log.Error("the metrics were not written", "error", err)
			errs = append(errs, err)
		}
	}
	w.teller.mu.Lock()
	r.Evidence = w.teller.evidence
	w.teller.mu.Unlock()
	r.Unchecked = errors.Join(errs...)
	return r
}

// round looks at one house.
func (h *house) round(ctx context.Context) {
	before := h.progress()
	h.failed = h.look(ctx)
	if ctx.Err() != nil {
		return
	}
	now := h.cfg.Clock()
	h.looked = now
	switch {
	case h.failed == nil:
		h.fails, h.seen = 0, now
	case errors.Is(h.failed, errTurn) && h.progress() > before && now.Sub(h.seen) < catchUpMost:
		// A long log takes several turns, the first time.
	default:
		h.fails++
	}
	why := ""
	if h.failed != nil {
		why = h.failed.Error()
	}
	h.alarm("unchecked", "", h.fails >= failuresMost, why)
	if head := h.mirror.Head(); head != nil && head.Size > h.size {
		h.size, h.grown = head.Size, now
	}
	h.alarm("silent", "", h.cfg.Silence > 0 && now.Sub(h.grown) > h.cfg.Silence, fmt.Sprintf("no new checkpoint since %s, expected at least every %v", h.grown.UTC().Format(time.RFC3339), h.cfg.Silence))
	if h.mirror.Head() == nil {
		return
	}
	heads := make([]func() error, len(h.points))
	var running sync.WaitGroup
	for i, p := range h.points {
		running.Go(func() { heads[i] = h.ask(ctx, p) })
	}
	running.Wait()
	for i, p := range h.points {
		p.failed = heads[i]()
		if p.fails++; p.failed == nil {
			p.fails = 0
		} else {
			why = p.failed.Error()
		}
		h.alarm("unchecked", p.Name, p.fails >= failuresMost, why)
	}
}

// errTurn says that a house has used up its time of this round.
var errTurn = errors.New("not seen to the end in this round: it goes on in the next one")

// progress is how far the house was seen, in entries fetched and gone through.
func (h *house) progress() uint64 { return h.mirror.Verified() + h.follower.Size() }

// look has the mirror fetch what is new, and goes through it. It ends with the turn:
// a house that gives what it has drop by drop does not hold up the others.
func (h *house) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(h.cfg.Turn, turnMost), errTurn)
	defer cancel()
	err := h.mirror.Round(ctx)
	var r *mirror.Refusal
	if errors.As(err, &r) && r.Evidence != nil {
		h.evidence(r.Reason, h.Points[0].Name, err.Error(), r.Evidence, r.File)
	}
	head := h.mirror.Head()
	if ctx.Err() != nil || head == nil || !h.Leaves {
		return cmp.Or(err, context.Cause(ctx))
	}
	if h.report != nil && head.Size == h.follower.Size() {
		return err
	}
	report, bad := h.follower.Advance(ctx, h.mirror.Log(), head.Note)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	h.report, h.checked = report, report.Replayed
	for i := range report.Findings {
		h.finding(&report.Findings[i])
	}
	for _, text := range report.Warnings {
		if !h.said[text] {
			h.said[text] = true
			a := h.alert(Alarm, "warning", "", text)
			a.key(text)
			h.tell(a)
		}
	}
	h.unfinished = bad
	why := ""
	if bad != nil {
		why = bad.Error()
	}
	h.alarm("incomplete", "", bad != nil, why)
	return err
}

func (h *house) alert(severity, kind, point, text string) Alert {
	return Alert{At: h.cfg.Clock().UTC().Format(time.RFC3339), Origin: h.mirror.Origin(), Severity: severity, Kind: kind, Point: point, Text: text}
}

// finding tells of a rule that the log breaks.
func (h *house) finding(f *verify.Finding) {
	a := h.alert(Evidence, "finding", "", fmt.Sprintf("entry %d (%s) breaks %s: expected %s, found %s", f.Index, f.Type, f.Rule, f.Expected, f.Found))
	a.Finding = f
	a.key(fmt.Sprint(f.Index, " ", f.Type, " ", f.Rule))
	if !h.said[a.ID] {
		h.said[a.ID] = true
		h.tell(a)
	}
}

// evidence tells of a file that was kept: of each once, and of one kind at one point
// once a day, for two histories that both go on differ anew at each look.
func (h *house) evidence(kind, point, text string, f *evidence.File, file string) {
	a := h.alert(Evidence, kind, point, text)
	a.File = file
	if b, err := json.Marshal(f); err == nil && len(b) <= inlineMost {
		a.Evidence = b
	}
	about := Alert{Origin: a.Origin}
	about.key(f.Name())
	a.key(a.At[:len(time.DateOnly)])
	a.also = about.ID
	if point == "" {
		a.ID = about.ID
	}
	if !h.said[a.ID] {
		h.said[a.ID] = true
		h.tell(a)
	}
}

// patience is for one point.
func (h *house) patience() time.Duration { return cmp.Or(h.cfg.Patience, time.Minute) }

// alarm tells when a state begins and when it is over.
func (h *house) alarm(kind, point string, on bool, text string) {
	key := kind + "\n" + point
	if on == h.active[key] {
		return
	}
	h.active[key] = on
	a := h.alert(Alarm, kind, point, text)
	if !on {
		a.Severity, a.Text = Resolved, kind+": it is over"
	}
	a.key("")
	h.tell(a)
}
