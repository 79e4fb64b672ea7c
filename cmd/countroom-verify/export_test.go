package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"time"

	"countroom/ledger/entry"
	"countroom/regulator/export"
	"countroom/regulator/verify/logtest"

	"github.com/rogpeppe/go-internal/testscript"
)

// exports writes what a house of three hours exports.
func exports(ts *testscript.TestScript, _ bool, _ []string) {
	h := logtest.New(logtest.Config{Seed: 12, Step: 20 * time.Second})
	who := []logtest.Player{h.Join(100_000), h.Join(100_000)}
	h.Play(who, 300)
	first, second := h.Officers()
	h.Rotate("exports", first, second)
	h.Play(who, 100)
	noon := entry.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	span := export.SpanOf(noon.Add(time.Hour), noon.Add(2*time.Hour))
	hour, err := export.Between(h.Tree(), h.Size(), span)
	ts.Check(err)
	all := export.Range{To: h.Size()}
	opts := export.Options{Sign: h.SignExport, Scratch: ts.Getenv("WORK")}
	make := func(name string, req export.Request, log export.Log) {
		req.Checkpoint = h.Checkpoint()
		f, err := os.Create(filepath.Join(ts.Getenv("WORK"), name))
		ts.Check(err)
		_, err = export.Write(context.Background(), f, log, req, opts)
		ts.Check(err)
		ts.Check(f.Close())
	}
	make("whole.zip", export.Request{Range: all}, h.Tree())
	make("hour.zip", export.Request{Range: hour, Span: span}, h.Tree())
	make("player.zip", export.Request{Range: all, Filter: export.Filter{Player: who[0].Ref.String()}}, h.Tree())
	_, certificate, err := export.Certify(context.Background(), h.Tree(), export.Request{Range: hour, Span: span, Checkpoint: h.Checkpoint()}, opts)
	ts.Check(err)
	write(ts, "hour.certificate", certificate)
	write(ts, "house.vkey", []byte(h.VKey+"\n"))
	write(ts, "another.vkey", []byte(logtest.New(logtest.Config{Seed: 13, Origin: "another.example/house"}).VKey+"\n"))

	honest, err := os.ReadFile(filepath.Join(ts.Getenv("WORK"), "hour.zip"))
	ts.Check(err)
	write(ts, "bytes.zip", bytes.Replace(honest, []byte(`"payout":{"amount":0`), []byte(`"payout":{"amount":9`), 1))
	// An insider who has the house export what is not in its log.
	make("insider.zip", export.Request{Range: hour, Span: span}, &insider{Tree: h.Tree(), from: hour.From})
}

// insider gives the first entry of a range another id.
type insider struct {
	*logtest.Tree
	from uint64
}

func (l *insider) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	return l.Tree.Leaves(from, to, func(index uint64, leaf []byte) error {
		if index == l.from {
			leaf = bytes.Clone(leaf)
			at := bytes.Index(leaf, []byte(`"id":"`)) + len(`"id":"`)
			leaf[at] = '0' + (leaf[at]+1)%10
		}
		return yield(index, leaf)
	})
}
