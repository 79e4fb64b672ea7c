package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/ledger/book"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/rngcert/assessment"
)

// BlobMost bounds what an entry names by its digest, in bytes.
const BlobMost = 4 << 20

// BlobPath is where a blob is published.
func BlobPath(digest [32]byte) string { return "blob/" + hex.EncodeToString(digest[:]) }

// BlobsOf returns the digests of the blobs that a leaf names.
func BlobsOf(leaf []byte) [][32]byte {
	typ, err := entry.TypeOf(leaf)
	if err != nil || typ != "rng.assessed" && typ != "game.certified" {
		return nil
	}
	e, err := books.Decode(leaf)
	if err != nil {
		return nil
	}
	switch e := e.(type) {
	case *assessment.Assessed:
		return [][32]byte{e.Bundle, e.Report}
	case *certificates.Certified:
		return [][32]byte{e.Blob}
	}
	return nil
}

// blobs are what entries name by their digests, published beside the log.
type blobs struct {
	ctx context.Context
	src Source
}

// get returns a blob. One that is missing, or another than its name says, is no evidence: whoever hands the log out
// need not be the house.
func (b *blobs) get(index uint64, digest [32]byte) ([]byte, error) {
	data, err := b.src.Read(b.ctx, nil, BlobPath(digest), BlobMost)
	if err == nil && sha256.Sum256(data) != digest {
		err = fmt.Errorf("%s: another digest", BlobPath(digest))
	}
	if err != nil {
		return nil, unchecked("entry %d: %w", index, err)
	}
	return data, nil
}

// lacking notes that a blob could not be had.
func (r *replay) lacking(err error) {
	if r.unknown == nil {
		r.unknown = err
	}
}

// exportsKey is the newest key for exports that is in force.
func (r *replay) exportsKey() (dsse.Key, error) {
	k := keys.Current(r.rows, system.RoleExports)
	if k == nil {
		return dsse.Key{}, dsse.ErrFormat
	}
	return dsse.ParseKey(k.Public)
}

// assessed holds an examination of the house's chance against its statement and report.
func (r *replay) assessed(index uint64, e *assessment.Assessed, broken func(rule, expected, found string)) {
	bundle, err := r.blobs.get(index, e.Bundle)
	if err != nil {
		r.lacking(err)
	} else if key, err := r.exportsKey(); err != nil {
		broken("assessment-statement", "a statement signed by the exports key in force", "no such key")
	} else if err := e.CheckStatement(r.v.Name(), key, bundle); err != nil {
		broken("assessment-statement", "the entry's statement, signed by the exports key in force", err.Error())
	}
	report, err := r.blobs.get(index, e.Report)
	if err != nil {
		r.lacking(err)
	} else if err := e.CheckReport(r.v.Name(), report); err != nil {
		broken("assessment-report", "a report that says what the entry says, and whose verdict follows from it", err.Error())
	}
}

// certified holds a laboratory's certificate against the statement that the laboratory signed.
func (r *replay) certified(index uint64, e *certificates.Certified, broken func(rule, expected, found string)) {
	laboratory := book.Get[certificates.Laboratory](r.rows, certificates.LaboratoryKey(e.Laboratory))
	if laboratory == nil {
		return // which is a rule of the books
	}
	signed, err := r.blobs.get(index, e.Blob)
	if err != nil {
		r.lacking(err)
	} else if err := e.CheckStatement(laboratory.Public, signed); err != nil {
		broken("certificate-statement", "the entry's certificate, signed by "+e.Laboratory, err.Error())
	}
}
