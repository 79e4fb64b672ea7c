// Package witness is what a regulator runs beside a house: it remembers the
// largest checkpoint of each log that it knows, cosigns a larger one only when it
// extends that, and records it before it answers (c2sp.org/tlog-witness). Two
// histories of one log can so never both be cosigned by it.
//
// It needs nothing of the house but its verifier key, and keeps one small file a
// log.
package witness

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"countroom/ledger/tlog"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/time/rate"
)

// Log is a log that a witness knows.
type Log struct {
	// Origin is the first line of its checkpoints.
	Origin string
	// VKeys are the verifier keys of its checkpoints. One signature is enough, so
	// that a key can be replaced by adding the next before the old one goes.
	VKeys []string
}

// Config is what a witness is made of.
type Config struct {
	Dir  string // of its records; made when it is missing
	Name string // of its key: a URL without scheme, such as witness.example/w1
	Key  ed25519.PublicKey
	// Sign returns the signature of msg by the private half of Key.
	Sign func(msg []byte) ([]byte, error)
	Logs []Log

	// Rate is how many requests a second one log may make; 0 means 1000.
	Rate float64
	// AcceptTorn lets the witness start over a record of which one of two copies
	// is damaged: the other may be one checkpoint older.
	AcceptTorn bool

	Clock func() time.Time // default time.Now
	Log   *slog.Logger     // default slog.Default
}

// Witness is a running witness. Its methods may be called by any goroutine.
type Witness struct {
	cfg      Config
	cosigner *tlog.Cosigner
	vkey     string
	logs     map[string]*record // by origin
	byHash   map[string]*record // by the SHA-256 of the origin, in hex
	strikes  strikes
	m        *metrics
}

// record is one log's register.
type record struct {
	origin    string
	verifiers note.Verifiers
	limit     *rate.Limiter

	mu       sync.Mutex
	file     *file
	last     head
	time     uint64 // of the last cosignature
	note     []byte // the checkpoint as cosigned last, nil when there is none
	broken   error  // writing failed: what the file holds is not known
	evidence int    // files that were kept
}

// head is what a witness compares.
type head struct {
	size uint64
	root tlog.Hash
}

// Open reads what the witness recorded and refuses to go on when any of it is
// damaged or not its own.
func Open(cfg Config) (_ *Witness, err error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Rate == 0 {
		cfg.Rate = 1000
	}
	w := &Witness{cfg: cfg, logs: map[string]*record{}, byHash: map[string]*record{}, m: newMetrics()}
	if w.vkey, err = tlog.CosignerVKey(cfg.Name, cfg.Key); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	if w.cosigner, err = tlog.NewCosigner(w.vkey); err != nil {
		return nil, err
	}
	for _, d := range []string{cfg.Dir, filepath.Join(cfg.Dir, "logs"), filepath.Join(cfg.Dir, "evidence")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
		if err := syncDir(filepath.Dir(d)); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for i, l := range cfg.Logs {
		if err := w.open(l); err != nil {
			return nil, fmt.Errorf("logs[%d], %q: %w", i, l.Origin, err)
		}
	}
	return w, nil
}

func (w *Witness) open(l Log) error {
	if l.Origin == "" || len(l.Origin) > originMost {
		return fmt.Errorf("origin: expected 1 to %d bytes", originMost)
	}
	if w.logs[l.Origin] != nil {
		return errors.New("the log is listed twice: give it one entry with all its keys")
	}
	if len(l.VKeys) == 0 {
		return errors.New("vkeys: expected at least one verifier key")
	}
	var verifiers []note.Verifier
	for _, k := range l.VKeys {
		v, err := tlog.NewVerifier(k)
		if err != nil {
			return fmt.Errorf("vkeys: %w", err)
		}
		verifiers = append(verifiers, v)
	}
	sum := sha256.Sum256([]byte(l.Origin))
	hash := hex.EncodeToString(sum[:])
	r := &record{origin: l.Origin, verifiers: note.VerifierList(verifiers...), limit: rate.NewLimiter(rate.Limit(w.cfg.Rate), max(1, int(w.cfg.Rate)))}
	kept, err := filepath.Glob(filepath.Join(w.cfg.Dir, "evidence", hash[:16]+"-*.json"))
	if err != nil {
		return err
	}
	r.evidence = len(kept)
	f, stored, torn, err := openFile(filepath.Join(w.cfg.Dir, "logs", hash), sum)
	if err != nil {
		return err
	}
	r.file = f
	w.logs[l.Origin], w.byHash[hash] = r, r
	if torn {
		if !w.cfg.AcceptTorn {
			return fmt.Errorf("%s: one of its two records is damaged, so that the other may be one checkpoint older than what was cosigned. "+
				"Compare it with checkpoints that others hold; if the power was cut while it was written, and no newer cosignature is found, start once with --accept-torn", f.path)
		}
		w.cfg.Log.Error("a damaged record was passed over, as told", "file", f.path)
	}
	if stored == nil {
		return nil
	}
	c, _, err := r.openNote(stored)
	if err != nil {
		return fmt.Errorf("%s: the recorded checkpoint: %w: was a verifier key taken away that signed it?", f.path, err)
	}
	good, _, err := tlog.Cosigned(stored, []*tlog.Cosigner{w.cosigner})
	if err != nil || len(good) != 1 {
		return fmt.Errorf("%s: the recorded checkpoint has no cosignature of %s: the name or the key of this witness is another than before", f.path, w.vkey)
	}
	r.last, r.time, r.note = c, good[0].Time, stored
	w.m.size.WithLabelValues(l.Origin).Set(float64(c.size))
	return nil
}

// VKey is the verifier key of the witness's cosignatures, to hand out.
func (w *Witness) VKey() string { return w.vkey }

// Close closes the records. Requests must be over.
func (w *Witness) Close() error {
	var errs []error
	for _, r := range w.logs {
		r.mu.Lock()
		if r.file != nil {
			errs = append(errs, r.file.Close())
			r.file = nil
		}
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}
