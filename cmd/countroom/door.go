package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"
	"countroom/ledger"
)

// leaveMost is how long a house that is about to be closed waits for requests
// that are still inside.
const leaveMost = 5 * time.Second

// door leads requests to the house behind it. A house that had to be opened
// read-only, because the disk had no room, is closed and opened again as soon
// as there is; requests wait before the door meanwhile.
type door struct {
	open func(context.Context) (*room, error)

	mu   sync.RWMutex
	room *room // changed by tend alone, of a pair by enter

	pair     *appliance.Pair // nil for a single machine
	draining bool
}

// room is an open house with those who are in it.
type room struct {
	*appliance.Appliance
	api    *api.Server
	inside sync.WaitGroup
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	room := d.visit()
	defer room.inside.Done()
	room.api.ServeHTTP(w, r)
}

// visit returns the room that is open, which is not closed before inside is done.
func (d *door) visit() *room {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.room.inside.Add(1)
	return d.room
}

// read returns the log that is open, which is not closed before leave is called.
func (d *door) read() (l *ledger.Ledger, leave func()) {
	room := d.visit()
	return room.Ledger, room.inside.Done
}

// enter leads requests to another house from now on. Those that are in the one
// before hear from it that it is closed.
func (d *door) enter(next *room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = next
	if d.draining {
		next.api.Drain()
	}
}

// drain lets the house say that it is not ready.
func (d *door) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
	d.room.api.Drain()
}

// joinPair opens the machine's place in its pair and returns what clients talk
// to.
func (d *door) joinPair(ctx context.Context, config appliance.Config, pc appliance.PairConfig) (h http.Handler, err error) {
	if config.Postgres != "" {
		return nil, errors.New("store: a pair keeps its log on its machines, and a database keeps that of a single one: have the one or the other")
	}
	if d.pair, err = appliance.OpenPair(ctx, config, pc); err != nil {
		return nil, err
	}
	return d.pair.Serve(d, func(w http.ResponseWriter, r *http.Request, err error) {
		d.mu.RLock()
		room := d.room
		d.mu.RUnlock()
		room.api.Refuse(w, r, err)
	})
}

// ready adds to what the house says of its readiness what the pair does.
func (d *door) ready() error {
	if d.pair == nil {
		return nil
	}
	return d.pair.Ready()
}

// tend returns when the context ends, or with the error for which the house
// could not be opened again; then none is open.
func (d *door) tend(ctx context.Context) error {
	for d.room.ReadOnly && d.room.AwaitRoom(ctx) == nil {
		if err := d.reopen(); err != nil {
			return fmt.Errorf("opening the house again: %w", err)
		}
	}
	<-ctx.Done()
	return nil
}

func (d *door) reopen() error {
	ctx := context.Background() // a stop comes after it, and is short
	d.mu.Lock()
	defer d.mu.Unlock()
	left := make(chan struct{})
	go func() {
		d.room.inside.Wait()
		close(left)
	}()
	select {
	case <-left:
	case <-time.After(leaveMost): // a client that does not take its answer
	}
	if err := d.room.Close(ctx); err != nil {
		return err
	}
	next, err := d.open(ctx)
	if err != nil {
		return err
	}
	d.room = next
	return nil
}
