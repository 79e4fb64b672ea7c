package witness

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

const (
	originMost = 255     // bytes
	textMost   = 8 << 10 // of a checkpoint without signatures, extension lines included
	proofMost  = 63      // hashes
)

// submission is the body of an add-checkpoint request.
type submission struct {
	old   uint64
	proof [][]byte
	note  []byte
}

// parseSubmission reads the old size line, the proof lines, an empty line and
// the checkpoint, which it does not look into.
func parseSubmission(body []byte) (s submission, err error) {
	line, rest, ok := bytes.Cut(body, []byte("\n"))
	digits, isOld := bytes.CutPrefix(line, []byte("old "))
	if !ok || !isOld {
		return s, fmt.Errorf("the first line: expected old and a size")
	}
	if s.old, err = parseSize(digits); err != nil {
		return s, fmt.Errorf("the old size: %w", err)
	}
	for {
		if line, rest, ok = bytes.Cut(rest, []byte("\n")); !ok {
			return s, fmt.Errorf("expected proof lines, an empty line and a checkpoint")
		}
		if len(line) == 0 {
			s.note = rest
			return s, nil
		}
		if len(s.proof) == proofMost {
			return s, fmt.Errorf("the proof: expected at most %d hashes", proofMost)
		}
		h, err := parseHash(line)
		if err != nil {
			return s, fmt.Errorf("proof line %d: %w", len(s.proof)+1, err)
		}
		s.proof = append(s.proof, h[:])
	}
}

// parseSize reads a decimal without sign and leading zeros.
func parseSize(b []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != string(b) {
		return 0, fmt.Errorf("%.30q: expected a decimal of 64 bits", b)
	}
	return n, nil
}

func parseHash(line []byte) (h tlog.Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(string(line))
	if err != nil || len(b) != len(h) || base64.StdEncoding.EncodeToString(b) != string(line) {
		return h, fmt.Errorf("%.60q: expected 32 bytes in base64", line)
	}
	return tlog.Hash(b), nil
}

// parseText reads the text of a checkpoint (c2sp.org/tlog-checkpoint): origin,
// size, root, and extension lines, which say nothing to a witness.
func parseText(text []byte) (origin string, h head, err error) {
	lines := strings.Split(string(text), "\n")
	if len(text) > textMost || len(lines) < 4 || lines[len(lines)-1] != "" {
		return "", h, fmt.Errorf("the checkpoint: expected origin, size and root, each on a line, in at most %d bytes", textMost)
	}
	for _, l := range lines[:len(lines)-1] {
		if l == "" {
			return "", h, fmt.Errorf("the checkpoint: expected no empty line in its text")
		}
	}
	if h.size, err = parseSize([]byte(lines[1])); err != nil {
		return "", h, fmt.Errorf("the checkpoint's size: %w", err)
	}
	if h.root, err = parseHash([]byte(lines[2])); err != nil {
		return "", h, fmt.Errorf("the checkpoint's root: %w", err)
	}
	return lines[0], h, nil
}

// openNote returns the head of a checkpoint that one of the log's keys signed,
// and the note with those signatures alone.
func (r *record) openNote(msg []byte) (h head, opened *note.Note, err error) {
	n, err := note.Open(msg, r.verifiers)
	if err != nil {
		return h, nil, err
	}
	origin, h, err := parseText([]byte(n.Text))
	if err == nil && origin != r.origin {
		err = fmt.Errorf("origin %q", origin)
	}
	return h, n, err
}

// What a submission says about the log, whatever it is answered.
const (
	nothing  = ""
	twoRoots = "two roots at one size: the log's key signed two histories"
	badEmpty = "a root of the empty tree that is not its root"
	unproven = "the checkpoint was not shown to extend the recorded one: two histories, or a proof that was spoiled on the way"
)

// decide answers a submission of a checkpoint that the log signed. It is the
// whole rule of a witness: what is not StatusOK leaves the record as it is.
func decide(last head, old uint64, hashes [][]byte, next head) (status int, against string) {
	switch {
	case next.size == last.size && last.size > 0 && next.root != last.root:
		against = twoRoots
	case next.size == 0 && next.root != rfc6962Empty:
		against = badEmpty
	}
	switch {
	case old > next.size:
		return http.StatusBadRequest, against
	case old != last.size:
		return http.StatusConflict, against
	case against != nothing:
		return http.StatusUnprocessableEntity, against
	case old == 0:
		if len(hashes) > 0 {
			return http.StatusUnprocessableEntity, nothing
		}
		return http.StatusOK, nothing
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, next.size, hashes, last.root[:], next.root[:]); err != nil {
		if next.size == old {
			return http.StatusUnprocessableEntity, nothing // hashes where none belong
		}
		return http.StatusUnprocessableEntity, unproven
	}
	return http.StatusOK, nothing
}

var rfc6962Empty = tlog.Hash(rfc6962.DefaultHasher.EmptyRoot())
