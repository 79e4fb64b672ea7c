// Package archive makes exports for who asks for them, one after another, and keeps the last of them as files. An export
// is known by what it is of: who asks for the same under the same checkpoint gets the same one.
package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/export"
)

var (
	// ErrBusy refuses an export while too many wait.
	ErrBusy = errors.New("too many exports are waiting")
	// ErrUnknown says that there is no export of an id.
	ErrUnknown = errors.New("no such export")
	// ErrRequest reports a request that cannot be carried out.
	ErrRequest = errors.New("request")
)

const (
	waitingMost = 8
	keptMost    = 16 // files of exports that are done
	idLength    = 32
)

// House is what exports are made of.
type House interface {
	export.Log
	// Checkpoint is the newest one that the house shows.
	Checkpoint() []byte
	// Vouch fails unless the house signed a checkpoint of its log as it is.
	Vouch(checkpoint []byte) error
	// Sign signs a statement with the key for exports.
	Sign(payload []byte) ([]byte, error)
	// Room fails when the disk has no room for what is not play.
	Room() error
}

// Ask says what to export: by indexes, or by times as RFC 3339 writes them.
type Ask struct {
	From, To      *uint64
	After, Before string // instants: from After, up to and without Before
	Filter        export.Filter
	Checkpoint    []byte // that the house signed; nil for the newest
}

// State is how far an export is.
type State string

// The states.
const (
	Waiting State = "waiting"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Status is what is known of an export.
type Status struct {
	ID          string
	State       State
	Range       export.Range
	Span        *export.Span
	Filter      export.Filter
	Checkpoint  []byte
	Done, Total uint64 // entries
	Bytes       int64  // of the file, when it is done
	Why         string // it failed
}

// Archive makes exports of a house.
type Archive struct {
	dir   string
	house House

	mu     sync.Mutex
	jobs   map[string]*job
	queue  []*job
	busy   bool
	closed bool
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

type job struct {
	Status
	req export.Request
}

// New returns the archive in a directory, which is made when the first export is asked for.
func New(dir string, house House) *Archive {
	a := &Archive{dir: dir, house: house, jobs: map[string]*job{}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Close ends what is under way. No house may be closed before its archive.
func (a *Archive) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.work.Wait()
}

// Resolve finds the range that is asked for, under a checkpoint.
func (a *Archive) Resolve(q Ask) (req export.Request, err error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrRequest, fmt.Errorf(format, args...))
	}
	if req.Filter = q.Filter; req.Filter.Check() != nil {
		return req, bad("%w", req.Filter.Check())
	}
	if req.Checkpoint = q.Checkpoint; req.Checkpoint == nil {
		req.Checkpoint = a.house.Checkpoint()
	}
	head, err := tlog.Peek(req.Checkpoint)
	if err != nil {
		return req, bad("checkpoint: %w", err)
	}
	if err := a.house.Vouch(req.Checkpoint); err != nil {
		return req, bad("checkpoint: %w", err)
	}
	switch {
	case (q.After != "") != (q.Before != "") || (q.From != nil) != (q.To != nil) || (q.After != "") == (q.From != nil):
		return req, bad("from, to: expected two indexes or two times")
	case q.From != nil:
		if req.Range = (export.Range{From: *q.From, To: *q.To}); *q.From > *q.To || *q.To > head.Size {
			return req, bad("from, to: expected a range within %d entries, found %d to %d", head.Size, *q.From, *q.To)
		}
		return req, nil
	}
	var at [2]entry.Time
	for i, s := range []string{q.After, q.Before} {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil || t.Year() < 1970 || t.Year() > 9999 || t.Nanosecond()%1000 != 0 {
			return req, bad("from, to: %q: expected an RFC 3339 time of whole microseconds", s)
		}
		at[i] = entry.TimeOf(t)
	}
	req.Span = export.SpanOf(at[0], at[1])
	req.Range, err = export.Between(a.house, head.Size, req.Span)
	if errors.Is(err, export.ErrRange) {
		err = bad("from, to: %w", err)
	}
	return req, err
}

// Request has an export made, unless it is there or under way.
func (a *Archive) Request(q Ask) (Status, error) {
	req, err := a.Resolve(q)
	if err != nil {
		return Status{}, err
	}
	id, err := idOf(&req)
	if err != nil {
		return Status{}, err
	}
	if err := a.house.Room(); err != nil {
		return Status{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.jobs[id]; j != nil && j.State != Failed {
		return j.Status, nil
	}
	if a.closed {
		return Status{}, context.Canceled
	}
	if len(a.queue) == waitingMost {
		return Status{}, ErrBusy
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return Status{}, err
	}
	j := &job{Status{ID: id, State: Waiting, Range: req.Range, Span: req.Span, Filter: req.Filter, Checkpoint: req.Checkpoint, Total: req.Range.To - req.Range.From}, req}
	if info, err := os.Stat(a.path(id)); err == nil { // of an earlier process
		j.State, j.Bytes, j.Done = Done, info.Size(), j.Total
		a.jobs[id] = j
		return j.Status, nil
	}
	a.jobs[id] = j
	a.queue = append(a.queue, j)
	if !a.busy {
		a.busy = true
		a.work.Go(a.run)
	}
	return j.Status, nil
}

// idOf is the name of a request: what an export of it depends on.
func idOf(req *export.Request) (string, error) {
	b, err := json.Marshal(struct {
		Format     string
		Range      export.Range
		Span       *export.Span
		Filter     export.Filter
		Checkpoint []byte
	}{export.Format, req.Range, req.Span, req.Filter, req.Checkpoint})
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])[:idLength], err
}

func (a *Archive) path(id string) string { return filepath.Join(a.dir, id+".zip") }

// Status returns what is known of an export.
func (a *Archive) Status(id string) (Status, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.jobs[id]; j != nil {
		return j.Status, nil
	}
	return Status{}, ErrUnknown
}

// Open returns the file of an export that is done, for who closes it.
func (a *Archive) Open(id string) (*os.File, error) {
	s, err := a.Status(id)
	if err != nil {
		return nil, err
	}
	if s.State != Done {
		return nil, fmt.Errorf("%w that is done", ErrUnknown)
	}
	f, err := os.Open(a.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		a.mu.Lock()
		delete(a.jobs, id)
		a.mu.Unlock()
		err = fmt.Errorf("%w any more: ask for it again", ErrUnknown)
	}
	return f, err
}

// Certify returns the certificate of a span alone, signed.
func (a *Archive) Certify(ctx context.Context, q Ask) (*export.Certificate, []byte, error) {
	req, err := a.Resolve(q)
	if err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil, nil, context.Canceled
	}
	a.work.Add(1)
	a.mu.Unlock()
	defer a.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	return export.Certify(ctx, a.house, req, export.Options{Sign: a.house.Sign})
}

// run makes what is asked for until nothing is.
func (a *Archive) run() {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 || a.closed {
			a.busy = false
			a.mu.Unlock()
			return
		}
		j := a.queue[0]
		a.queue = a.queue[1:]
		j.State = Running
		a.mu.Unlock()
		size, err := a.make(j)
		a.mu.Lock()
		if j.State, j.Bytes, j.Done = Done, size, j.Total; err != nil {
			j.State, j.Bytes, j.Why = Failed, 0, err.Error()
		}
		a.mu.Unlock()
	}
}

func (a *Archive) make(j *job) (size int64, err error) {
	if err := a.tidy(); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(a.dir, "*.part")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		} else {
			err = os.Rename(f.Name(), a.path(j.ID))
		}
	}()
	sum, err := export.Write(a.ctx, f, a.house, j.req, export.Options{Sign: a.house.Sign, Scratch: a.dir, Progress: func(done, _ uint64) error {
		a.mu.Lock()
		j.Done = done
		a.mu.Unlock()
		return a.house.Room()
	}})
	if err != nil {
		return 0, err
	}
	return sum.Bytes, f.Sync()
}

// tidy removes what was never finished, and the oldest files beyond those that are kept.
func (a *Archive) tidy() error {
	list, err := os.ReadDir(a.dir)
	if err != nil {
		return err
	}
	type file struct {
		id string
		at time.Time
	}
	var whole []file
	for _, e := range list {
		id, ok := strings.CutSuffix(e.Name(), ".zip")
		if !ok {
			if strings.HasSuffix(e.Name(), ".part") {
				err = errors.Join(err, os.Remove(filepath.Join(a.dir, e.Name())))
			}
			continue
		}
		if info, err := e.Info(); err == nil {
			whole = append(whole, file{id, info.ModTime()})
		}
	}
	slices.SortFunc(whole, func(a, b file) int { return a.at.Compare(b.at) })
	for len(whole) >= keptMost {
		err = errors.Join(err, os.Remove(a.path(whole[0].id)))
		a.mu.Lock()
		delete(a.jobs, whole[0].id)
		a.mu.Unlock()
		whole = whole[1:]
	}
	return err
}
