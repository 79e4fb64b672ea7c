package witness

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// evidence is what a witness keeps of a checkpoint that a log signed and that
// does not go with the recorded one. The signatures in it speak for themselves.
type evidence struct {
	Against   string   `json:"against"`
	Origin    string   `json:"origin"`
	SeenAt    string   `json:"seen_at"`
	Recorded  string   `json:"recorded"`  // the checkpoint that the witness cosigned, with signatures
	Submitted string   `json:"submitted"` // the other, with signatures
	Old       uint64   `json:"old"`
	Proof     []string `json:"proof"` // as it was submitted
}

// evidenceMost bounds the files of one log: a hostile client can spoil the proof
// of any checkpoint that the log signed.
const evidenceMost = 256

// keep writes an evidence file, once for each submitted checkpoint, and raises
// the alarm.
func (w *Witness) keep(r *record, against string, s submission) {
	w.m.conflicts.WithLabelValues(r.origin, kind(against)).Inc()
	e := evidence{Against: against, Origin: r.origin, SeenAt: w.cfg.Clock().UTC().Format(time.RFC3339), Recorded: string(r.note), Submitted: string(s.note), Old: s.old, Proof: []string{}}
	for _, h := range s.proof {
		e.Proof = append(e.Proof, base64.StdEncoding.EncodeToString(h))
	}
	b, err := json.MarshalIndent(e, "", "  ")
	sum := sha256.Sum256(append([]byte(against+"\n"+e.Recorded+"\n"), s.note...))
	origin := sha256.Sum256([]byte(r.origin))
	path := filepath.Join(w.cfg.Dir, "evidence", fmt.Sprintf("%x-%x.json", origin[:8], sum[:8]))
	switch _, missing := os.Lstat(path); {
	case err != nil:
	case missing == nil:
		return // kept already
	case r.evidence >= evidenceMost:
		err = fmt.Errorf("there are %d evidence files already", r.evidence)
	default:
		if err = writeFile(path, append(b, '\n')); err == nil {
			r.evidence++
		}
	}
	w.cfg.Log.Error("a checkpoint does not go with the recorded one: "+against, "origin", r.origin, "evidence", path, "error", err)
}

func kind(against string) string {
	if against == unproven {
		return "unproven"
	}
	return "proven"
}

// writeFile writes a file whole and durably, or not at all.
func writeFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new.*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
