package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
	"countroom/regulator/watch"
)

// watchArguments are those of countroom-verify watch.
type watchArguments struct {
	houses    []watchHouse
	witnesses []string // verifier keys, or files
	monitors  []string // URLs of witnesses
	quorum    int
	state     string
	webhook   string
	metrics   string
	interval  time.Duration
	silence   time.Duration
	once      bool
	stop      bool
}

// watchHouse is what stands between one --vkey and the next.
type watchHouse struct {
	vkey, token string
	urls        []string
}

const (
	intervalDefault = 10 * time.Second
	silenceDefault  = time.Hour
)

func parseWatch(args []string) (*watchArguments, error) {
	a := &watchArguments{interval: intervalDefault, silence: silenceDefault, houses: []watchHouse{{}}}
	for i := 0; i < len(args); i++ {
		h := &a.houses[len(a.houses)-1]
		if !strings.HasPrefix(args[i], "--") {
			if !isURL(args[i]) {
				return nil, fmt.Errorf("watch: %q: expected the URL of a house or a mirror", args[i])
			}
			h.urls = append(h.urls, args[i])
			continue
		}
		name, value, given := strings.Cut(args[i][2:], "=")
		if name == "once" || name == "stop" {
			if given {
				return nil, fmt.Errorf("--%s: expected no value", name)
			}
			a.once, a.stop = a.once || name == "once", a.stop || name == "stop"
			continue
		}
		if !given {
			if i++; i >= len(args) || strings.HasPrefix(args[i], "--") {
				return nil, fmt.Errorf("--%s: expected a value", name)
			}
			value = args[i]
		}
		var err error
		switch name {
		case "vkey":
			if h.vkey != "" {
				a.houses = append(a.houses, watchHouse{})
				h = &a.houses[len(a.houses)-1]
			}
			h.vkey = value
		case "token":
			if h.token != "" {
				return nil, errors.New("--token: expected one of a house, after its --vkey")
			}
			h.token = value
		case "witness":
			if isURL(value) {
				a.monitors = append(a.monitors, value)
			} else {
				a.witnesses = append(a.witnesses, value)
			}
		case "quorum":
			if _, err = fmt.Sscanf(value, "%d", &a.quorum); err != nil || a.quorum < 1 {
				err = fmt.Errorf("--quorum %s: expected how many of the witnesses, from 1", value)
			}
		case "state":
			a.state = value
		case "webhook":
			a.webhook = value
		case "metrics":
			a.metrics = value
		case "interval":
			if a.interval, err = time.ParseDuration(value); err != nil || a.interval <= 0 {
				err = fmt.Errorf("--interval %s: expected a time such as 10s", value)
			}
		case "silence":
			if a.silence, err = time.ParseDuration(value); err != nil || a.silence < 0 {
				err = fmt.Errorf("--silence %s: expected a time such as 1h, or 0", value)
			}
		default:
			err = fmt.Errorf("watch: unknown flag --%s", name)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, h := range a.houses {
		switch {
		case h.vkey == "":
			return nil, errors.New("watch: expected --vkey FILE, the house's verifier key")
		case len(h.urls) == 0:
			return nil, fmt.Errorf("watch: expected a URL for --vkey %s", h.vkey)
		}
	}
	if a.quorum > len(a.witnesses) {
		return nil, fmt.Errorf("--quorum %d: expected at most the %d witnesses given as --witness", a.quorum, len(a.witnesses))
	}
	return a, nil
}

// house makes of the arguments what is watched.
func (h *watchHouse) house(monitors []string) (out watch.House, err error) {
	if out.VKey, err = line(h.vkey); err != nil {
		return out, err
	}
	v, err := tlog.NewVerifier(out.VKey)
	if err != nil {
		return out, fmt.Errorf("--vkey %s: %w", h.vkey, err)
	}
	token := ""
	if h.token != "" {
		if token, err = line(h.token); err != nil {
			return out, err
		}
		out.Leaves = true
	}
	for _, u := range h.urls {
		src, err := verify.HTTP(u, token)
		if err != nil {
			return out, err
		}
		out.Points = append(out.Points, watch.Point{Name: u, Source: src})
		token = "" // for the first alone
	}
	for _, u := range monitors {
		src, err := verify.Resources(strings.TrimSuffix(u, "/") + "/" + watch.WitnessPath(v.Name()))
		if err != nil {
			return out, err
		}
		out.Points = append(out.Points, watch.Point{Name: u, Source: src, Witness: true})
	}
	return out, nil
}

// watching is countroom-verify watch.
func watching(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	failed := func(err error) int {
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		return exitUnchecked
	}
	a, err := parseWatch(args)
	if err != nil {
		fmt.Fprintf(stderr, "countroom-verify: %v\nTry countroom-verify --help.\n", err)
		return exitUnchecked
	}
	cfg := watch.Config{
		Dir: a.state, Silence: a.silence, Webhook: a.webhook, Metrics: a.metrics,
		Log: slog.New(slog.NewTextHandler(stderr, nil)),
	}
	if cfg.Trust, err = (&arguments{witnesses: a.witnesses, quorum: a.quorum}).trust(); err != nil {
		return failed(err)
	}
	for i := range a.houses {
		h, err := a.houses[i].house(a.monitors)
		if err != nil {
			return failed(err)
		}
		cfg.Houses = append(cfg.Houses, h)
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "countroom-watch-"); err != nil {
			return failed(err)
		}
		defer os.RemoveAll(cfg.Dir)
	}
	w, err := watch.Open(ctx, cfg)
	if err != nil {
		return failed(err)
	}
	defer w.Close()
	var r watch.Result
	for {
		now := w.Round(ctx)
		if ctx.Err() != nil {
			break
		}
		r = now
		if a.once || a.stop && r.Evidence > 0 {
			break
		}
		select {
		case <-time.After(a.interval):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	for _, report := range w.Reports() {
		if report != nil {
			fmt.Fprintf(stdout, "%s: %d entries checked, %d findings\n", clean(report.Origin), report.Replayed, uint64(len(report.Findings))+report.More)
		}
	}
	switch {
	case r.Evidence > 0:
		fmt.Fprintf(stdout, "EVIDENCE: %d found", r.Evidence)
		if a.state != "" {
			fmt.Fprintf(stdout, "; files are under %s", clean(a.state))
		}
		fmt.Fprintln(stdout)
		return exitEvidence
	case a.once && r.Unchecked != nil:
		return failed(r.Unchecked)
	}
	fmt.Fprintln(stdout, "OK")
	return exitHolds
}

// isWatch tells watch from the commands whose flags stand anywhere.
func isWatch(args []string) bool {
	return len(args) > 0 && args[0] == "watch" && !slices.Contains(args, "--help")
}
