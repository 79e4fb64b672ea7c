package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"countroom/cmd/appliance"
	"countroom/games/certificates"
	"countroom/games/house"
	"countroom/ledger"
	"countroom/ledger/officers"
	"countroom/ledger/system"

	"github.com/spf13/cobra"
)

// The desk is what the operator's commands on the same machine ask of a house: over the control socket where a server
// runs, and else of the house opened for it. Both take the same road.

// deskMost bounds what is asked and answered, in bytes.
const deskMost = 32 << 20

// about is what a laboratory has to know of the house.
type about struct {
	Origin, Node, Release string
	Program               string // SHA-256 of its file, in hex
	Configuration         string
	Draws                 uint64            // of a seed epoch
	Sources               []string          // URIs of its entropy sources
	Minimum               int               // of these, in order
	Games                 []json.RawMessage // definitions of those in play
}

type assessRequest struct{ Report, Page []byte }

type assessAnswer struct {
	Index  uint64
	Bundle []byte
	Answer []byte // entry 0, those about keys for exports since, and the entry, each with its receipt
}

type recogniseRequest struct {
	Laboratory, Public string
	Approvals          []officers.Approval
}

type indexAnswer struct{ Index uint64 }

type certificatesAnswer struct {
	Production bool
	Games      []house.Certification
}

// desk adds the operator's commands to the control socket.
func (d *door) desk(mux *http.ServeMux, c *config) {
	answer := func(pattern string, handle func(ctx context.Context, h *room, body []byte) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, deskMost))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			room := d.visit()
			defer room.inside.Done()
			if room.House == nil {
				http.Error(w, "the house is not open", http.StatusServiceUnavailable)
				return
			}
			out, err := handle(r.Context(), room, body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(out)
		})
	}
	answer("GET /about", func(ctx context.Context, r *room, _ []byte) (any, error) {
		program, configuration, err := c.look()
		if err != nil {
			return nil, err
		}
		games, err := r.House.InPlay(ctx)
		if err != nil {
			return nil, err
		}
		a := about{Origin: r.Ledger.Origin(), Node: c.Node, Program: hex.EncodeToString(program[:]), Configuration: hex.EncodeToString(configuration[:]), Draws: c.Epoch.Draws,
			Sources: c.Entropy.Sources, Minimum: c.Entropy.Minimum}
		if a.Release, err = release(); err != nil {
			return nil, err
		}
		for _, g := range games {
			a.Games = append(a.Games, g.Canonical())
		}
		return a, nil
	})
	answer("POST /assess", func(ctx context.Context, r *room, body []byte) (any, error) {
		var q assessRequest
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		receipt, bundle, err := r.House.Assess(ctx, q.Report, q.Page)
		if err != nil {
			return nil, err
		}
		// From entry 0 the entries about keys for exports lead to the one that signed.
		all, err := r.House.Keys(ctx)
		if err != nil {
			return nil, err
		}
		at := []uint64{0, receipt.Index}
		for _, k := range all {
			for _, index := range []uint64{k.Introduced, k.Retired} {
				if k.Role == system.RoleExports && index > 0 && index < receipt.Index {
					at = append(at, index)
				}
			}
		}
		slices.Sort(at)
		type proven struct {
			Leaf    json.RawMessage `json:"leaf"`
			Receipt string          `json:"receipt"`
		}
		var list []proven
		for _, index := range at {
			e, err := r.Ledger.Entry(index)
			if err != nil {
				return nil, err
			}
			list = append(list, proven{e.Leaf, string(e.Proof)})
		}
		proofs, err := json.MarshalIndent(list, "", " ")
		return assessAnswer{receipt.Index, bundle, append(proofs, '\n')}, err
	})
	answer("POST /laboratories", func(ctx context.Context, r *room, body []byte) (any, error) {
		var q recogniseRequest
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		receipt, err := r.House.Recognise(ctx, ofOperator("/laboratories", body), q.Laboratory, q.Public, q.Approvals)
		return indexAnswer{receipt.Index}, err
	})
	answer("POST /certificates", func(ctx context.Context, r *room, body []byte) (any, error) {
		receipt, err := r.House.ImportCertificate(ctx, ofOperator("/certificates", body), body)
		return indexAnswer{receipt.Index}, err
	})
	answer("GET /certificates", func(ctx context.Context, r *room, _ []byte) (any, error) {
		production, list, err := r.House.Certifications(ctx)
		return certificatesAnswer{production, list}, err
	})
	exportsDesk(answer)
	d.subjectsDesk(mux, answer)
	answer("POST /selfcheck", func(ctx context.Context, r *room, _ []byte) (any, error) {
		return r.House.SelfCheck(ctx, certificates.Asked)
	})
}

// ofOperator is a command of the operator that came over the desk, under a key of its own.
func ofOperator(path string, body []byte) house.Request {
	return house.Request{Key: "desk-" + rand.Text(), Method: http.MethodPost, Path: path, Principal: "operator", Body: body}
}

// desk is a connection to the house in a data directory.
type desk struct {
	http.RoundTripper
	close func() error
}

// openDesk reaches the server of the house, or opens the house.
func openDesk(ctx context.Context, c *config) (*desk, error) {
	path := filepath.Join(c.Data, controlSocket)
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return &desk{&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}, func() error { return nil }}, nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(c.Data, "origin")); err != nil {
		return nil, fmt.Errorf("--data: %s: expected a house: %w", c.Data, err)
	}
	cfg, err := c.house(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	a, err := appliance.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if a.ReadOnly {
		return nil, errors.Join(ledger.ErrNoSpace, a.Close(ctx))
	}
	d := &door{room: &room{Appliance: a}}
	mux := http.NewServeMux()
	d.desk(mux, c)
	return &desk{inProcess{mux}, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return a.Close(ctx)
	}}, nil
}

// inProcess hands requests to a handler in this process.
type inProcess struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := &kept{header: http.Header{}, status: http.StatusOK}
	p.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header         { return k.header }
func (k *kept) WriteHeader(status int)      { k.status = status }
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }

// ask sends in as JSON, or as it is when it is bytes, and reads the answer into out.
func (d *desk) ask(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	switch in := in.(type) {
	case nil:
	case []byte:
		body = in
	default:
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://countroom"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: d}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, deskMost))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the house refused: %s", strings.TrimSpace(string(b)))
	}
	return json.Unmarshal(b, out)
}

// deskFlags are those of commands that ask something of the house in a data directory.
func deskFlags(cmd *cobra.Command) func() (*config, error) {
	c := defaults()
	cmd.Flags().StringVar(&c.Data, "data", c.Data, "directory of the house")
	file := cmd.Flags().String("config", "", "YAML file with the house's settings, where no server runs")
	return func() (*config, error) {
		if *file == "" {
			*file = os.Getenv("COUNTROOM_CONFIG")
		}
		return c.load(cmd, *file, os.Environ())
	}
}
