package pebble

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/time/rate"
)

// fatal is what Pebble's Fatalf panics with. Pebble wants its Fatalf not to return: after a failed commit it would report
// success, and after a failed manifest write it would delete files that are still needed. In one of our writes the panic is
// caught and poisons the store; in Pebble's own goroutines it ends the process, which is what Pebble does by default.
type fatal struct {
	message string
	causes  []error
}

func (f *fatal) Error() string   { return f.message }
func (f *fatal) Unwrap() []error { return f.causes }

const cannotGoOn = "pebble cannot go on"

type logger struct {
	*slog.Logger
	failed, full rate.Sometimes // what goes wrong in the background does so many times a second
}

func newLogger(l *slog.Logger) *logger {
	const seldom = 10 * time.Second
	return &logger{Logger: l, failed: rate.Sometimes{Interval: seldom}, full: rate.Sometimes{Interval: seldom}}
}

func (l *logger) Infof(string, ...any) {} // flushes and compactions, by the thousand

func (l *logger) Errorf(format string, args ...any) {
	l.Error("pebble", "error", fmt.Sprintf(format, args...))
}

func (l *logger) Fatalf(format string, args ...any) {
	f := &fatal{message: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			f.causes = append(f.causes, err)
		}
	}
	l.Error(cannotGoOn, "error", f.Error())
	panic(f)
}

func (l *logger) diskFull() {
	l.full.Do(func() { l.Error("the disk is full: what is written waits until there is room") })
}

// events logs what an operator has to know.
func (l *logger) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			l.failed.Do(func() { l.Error("flush or compaction failed and is tried again", "error", err.Error()) })
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			l.Error("stored data is damaged", "file", info.Path, "error", fmt.Sprint(info.Details))
		},
		DiskSlow:        func(info pebble.DiskSlowInfo) { l.Warn("the disk is slow", "write", info.String()) },
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) { l.Warn("commits wait for the disk", "reason", info.Reason) },
		WriteStallEnd:   func() { l.Info("commits go on") },
	}
}

// recoverFatal, deferred, makes a panic of Fatalf, or of Pebble with an error (a directory that cannot be synced), the
// error of the function that defers it.
func recoverFatal(err *error) {
	switch r := recover().(type) {
	case nil:
	case runtime.Error:
		panic(r)
	case error:
		*err = r
	default:
		panic(r)
	}
}
