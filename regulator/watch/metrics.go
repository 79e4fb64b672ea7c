package watch

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writeMetrics writes the file for Prometheus' node exporter whole or not at all.
func (w *Watch) writeMetrics() error {
	f, err := os.CreateTemp(filepath.Dir(w.cfg.Metrics), "."+filepath.Base(w.cfg.Metrics)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(w.metrics())
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), w.cfg.Metrics)
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// metrics is the text format of Prometheus.
func (w *Watch) metrics() []byte {
	var b bytes.Buffer
	family := func(name, kind, help string, each func(one func(value any, labels ...string))) {
		fmt.Fprintf(&b, "# HELP countroom_watch_%s %s\n# TYPE countroom_watch_%s %s\n", name, help, name, kind)
		each(func(value any, labels ...string) {
			fmt.Fprintf(&b, "countroom_watch_%s", name)
			for i := 0; i < len(labels); i += 2 {
				fmt.Fprintf(&b, "%s%s=\"%s\"", []string{"{", ","}[min(i, 1)], labels[i], escapes.Replace(labels[i+1]))
			}
			if len(labels) > 0 {
				b.WriteByte('}')
			}
			fmt.Fprintf(&b, " %v\n", value)
		})
	}
	houses := func(name, kind, help string, value func(h *house) any) {
		family(name, kind, help, func(one func(any, ...string)) {
			for _, h := range w.houses {
				one(value(h), "origin", h.mirror.Origin())
			}
		})
	}
	points := func(name, help string, value func(h *house, p *point) any) {
		family(name, "gauge", help, func(one func(any, ...string)) {
			for _, h := range w.houses {
				for _, p := range h.points {
					one(value(h, p), "origin", h.mirror.Origin(), "point", p.Name)
				}
			}
		})
	}
	houses("size", "gauge", "Entries under the newest head that was accepted.", func(h *house) any { return h.size })
	houses("checked", "gauge", "Entries that all rules were held against.", func(h *house) any { return h.checked })
	houses("findings", "gauge", "Rules that the log breaks. Alarm on any.", func(h *house) any {
		if h.report == nil {
			return 0
		}
		return uint64(len(h.report.Findings)) + h.report.More
	})
	houses("evidence_files", "gauge", "Files of evidence that were kept. Alarm on any.", func(h *house) any { return h.mirror.Counts().Evidence })
	houses("looked_seconds", "gauge", "Unix time of the last round.", func(h *house) any { return h.looked.Unix() })
	houses("seen_seconds", "gauge", "Unix time of the last round in which the house showed everything. Alarm when it is old.", func(h *house) any { return h.mirror.Counts().Done })
	houses("grown_seconds", "gauge", "Unix time of the newest checkpoint, or of the start.", func(h *house) any { return h.grown.Unix() })
	houses("ok", "gauge", "1 when the last round saw everything.", func(h *house) any { return bit(h.failed == nil) })
	points("point_size", "Size that was shown last elsewhere.", func(_ *house, p *point) any { return p.size })
	points("point_ok", "1 when what is shown elsewhere could be compared.", func(_ *house, p *point) any { return bit(p.failed == nil) })
	w.teller.mu.Lock()
	defer w.teller.mu.Unlock()
	family("alerts_total", "counter", "Alerts since the start.", func(one func(any, ...string)) {
		keys := slices.SortedFunc(maps.Keys(w.teller.counts), func(a, b [2]string) int { return strings.Compare(a[0]+"\n"+a[1], b[0]+"\n"+b[1]) })
		for _, k := range keys {
			one(w.teller.counts[k], "origin", k[0], "kind", k[1])
		}
	})
	family("alerts_waiting", "gauge", "Alerts that did not reach the webhook yet.", func(one func(any, ...string)) { one(len(w.teller.out)) })
	family("alerts_lost_total", "counter", "Alerts that were too many to wait.", func(one func(any, ...string)) { one(w.teller.dropped) })
	family("webhook_failures_total", "counter", "Posts that failed.", func(one func(any, ...string)) { one(w.teller.failures) })
	return b.Bytes()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
