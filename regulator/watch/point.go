package watch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"countroom/regulator/evidence"
	"countroom/regulator/mirror"
	"countroom/regulator/verify"
)

// point is somebody else who shows heads of a log.
type point struct {
	Point
	size   uint64 // shown last
	fails  int
	failed error
	split  string // day on which it was last found to show another history
	ahead  int    // rounds in which it was ahead of the house
}

// errSplit says that a point shows another history, of which there is evidence.
var errSplit = errors.New("another history is shown here")

// ask reads what a point shows, at the same time as others. What it returns holds
// that against the house, one after another.
func (h *house) ask(ctx context.Context, p *point) func() error {
	failed := func(err error) func() error { return func() error { return err } }
	msg, err := h.read(ctx, p)
	if err != nil {
		return failed(fmt.Errorf("%s: %w", mirror.ReasonOf(err), err))
	}
	return func() error {
		c, vkeys, err := h.mirror.Signed(msg)
		if err != nil {
			return fmt.Errorf("%s: %w", mirror.ReasonOf(err), err)
		}
		p.size = c.Size
		return h.compare(ctx, p, vkeys, evidence.Head{Checkpoint: c, Note: msg, From: p.Name})
	}
}

func (h *house) read(ctx context.Context, p *point) (msg []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.patience())
	defer cancel()
	return p.Source.Read(ctx, nil, "checkpoint", verify.CheckpointMost)
}

// compare holds a head that is shown elsewhere against the house's.
func (h *house) compare(ctx context.Context, p *point, vkeys []string, other evidence.Head) error {
	if other.Size > h.mirror.Head().Size {
		// The house has grown since it was looked at, or so it is said.
		if err := h.look(ctx); err != nil {
			return nil // which is said of the house
		}
	}
	ours := *h.mirror.Head()
	ours.From = h.Points[0].Name
	ctx, cancel := context.WithTimeout(ctx, h.patience())
	defer cancel()
	first, second := other, ours
	read := evidence.Tiles(h.mirror.Log())
	if other.Size > ours.Size {
		first, second = ours, other
		from := p.Source
		if p.Witness {
			from = h.Points[0].Source
		}
		read = evidence.Tiles(from)
	}
	p.ahead++
	if other.Size <= ours.Size {
		p.ahead = 0
	}
	defer func() {
		h.alarm("behind", p.Name, p.ahead >= failuresMost, fmt.Sprintf("the house shows size %d and signed size %d, which is shown here", h.mirror.Head().Size, p.size))
	}()
	var tree *evidence.Tree
	var err error
	if first.Size != second.Size {
		tree, err = evidence.Open(ctx, second.Checkpoint, read)
		if p.Witness && errors.Is(err, fs.ErrNotExist) {
			return nil // a witness has no tiles, and the house shows none of them yet
		}
	}
	var f *evidence.File
	if err == nil {
		f, err = evidence.Compare(ctx, vkeys, h.cfg.Clock(), first, second, tree)
	}
	var bad *evidence.BadTile
	switch {
	case errors.As(err, &bad):
		at := evidence.Bad(vkeys, h.cfg.Clock(), second, bad.Path, bad.Data, fmt.Sprintf("%x", bad.Want), fmt.Sprintf("%x", bad.Found))
		return h.split(p, at, err)
	case err != nil:
		return fmt.Errorf("%s: %w", mirror.ReasonOf(err), err)
	case f != nil:
		return h.split(p, f, fmt.Errorf("%w: size %d with root %x, and %s shows size %d with root %x", errSplit, other.Size, other.Root, ours.From, ours.Size, ours.Root))
	}
	return nil
}

// split keeps the evidence of a history that is another one.
func (h *house) split(p *point, f *evidence.File, why error) error {
	day := h.cfg.Clock().UTC().Format(time.DateOnly)
	if p.split == day {
		return nil
	}
	p.split = day
	file, err := h.mirror.Keep(f)
	if err != nil {
		why = fmt.Errorf("%w (the evidence could not be kept: %w)", why, err)
	}
	h.evidence(f.Kind, p.Name, why.Error(), f, file)
	return nil
}

// WitnessPath is where a witness shows a log's head to monitors, under its URL.
func WitnessPath(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}
