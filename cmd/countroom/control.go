package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"countroom/ledger/backup"
	"countroom/ledger/tlog"

	"golang.org/x/sys/unix"
)

// controlSocket is a socket in the data directory by which commands of the same
// user on the same machine talk to the server. It has no tokens: who may open
// it may read the keys beside it, too.
const controlSocket = "control.sock"

// listenControl opens the control socket. Play goes on without it, so what keeps
// it from being made is only told.
func listenControl(ctx context.Context, dir string, log *slog.Logger) net.Listener {
	path := filepath.Join(dir, controlSocket)
	// Whoever left one there is gone: the directory is this process's.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Error("no command can reach this server", "error", err)
		return nil
	}
	private := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		// On Linux the file gets the mode that the socket has when it is bound.
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	lis, err := private.Listen(ctx, "unix", path)
	if err != nil {
		log.Error("no command can reach this server", "error", err)
		return nil
	}
	return lis
}

// control serves the control socket until the context ends.
func control(ctx context.Context, c *config, d *door, log *slog.Logger) {
	lis := listenControl(ctx, c.Data, log)
	if lis == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /backup", func(w http.ResponseWriter, r *http.Request) { d.backup(w, r, log) })
	d.officers(mux)
	if d.pair != nil {
		pairControl(mux, d.pair)
	}
	d.desk(mux, c)
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(lis)
}

// backup streams a back-up. One that cannot be finished is cut off, which the
// reader of the stream notices.
func (d *door) backup(w http.ResponseWriter, r *http.Request, log *slog.Logger) {
	since, err := sinceOf(r.FormValue("since"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	room := d.visit()
	defer room.inside.Done()
	snapshot, signed, err := room.Ledger.Snapshot(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer snapshot.Close()
	sum, err := backup.Write(w, snapshot, signed.Checkpoint, since)
	switch {
	case errors.Is(err, backup.ErrHistory):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		log.Warn("a back-up was not finished", "error", err)
		panic(http.ErrAbortHandler)
	default:
		log.Info("backed up", "from", sum.From, "size", signed.Size, "bytes", sum.Bytes, "digest", hex.EncodeToString(sum.Digest[:]))
	}
}

// sinceOf reads size and root of the back-up to be continued, "" for none.
func sinceOf(s string) (c tlog.Checkpoint, err error) {
	if s == "" {
		return c, nil
	}
	size, root, _ := strings.Cut(s, "-")
	if c.Size, err = strconv.ParseUint(size, 10, 64); err != nil {
		return c, fmt.Errorf("since: %q: expected SIZE-ROOT", s)
	}
	b, err := hex.DecodeString(root)
	if err != nil || len(b) != len(c.Root) {
		return c, fmt.Errorf("since: %q: expected SIZE-ROOT", s)
	}
	c.Root = tlog.Hash(b)
	return c, nil
}

// errNoServer says that nobody listens at the control socket.
var errNoServer = errors.New("no server runs there")

// controlClient talks to the server of a data directory.
func controlClient(dir string) *http.Client {
	path := filepath.Join(dir, controlSocket)
	return &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

// askBackup has the server of a data directory stream a back-up.
func askBackup(ctx context.Context, dir string, since tlog.Checkpoint) (io.ReadCloser, error) {
	client := controlClient(dir)
	url := "http://countroom/backup"
	if since.Size > 0 {
		url += fmt.Sprintf("?since=%d-%x", since.Size, since.Root)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNoServer
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		return nil, errors.Join(fmt.Errorf("the server refused: %s", strings.TrimSpace(string(b))), err)
	}
	return resp.Body, nil
}
