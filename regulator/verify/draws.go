package verify

import (
	"encoding/hex"
	"slices"
	"sync"

	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/rngcert/chance"
)

// draw is what is kept of a round until the secret of its epoch is out. It
// holds no pointers, since there can be millions.
type draw struct {
	player  entry.Ref
	n       uint64
	enabled uint64
	index   uint64
	r       [32]byte
}

// page is a run of draws, the unit in which their memory comes and goes.
type page [4096]draw

// draws are the draws of one epoch.
type draws struct {
	pages []*page
	n     int // of them all
}

// pages are those that wait to be used again.
type pages []*page

func (p *pages) add(d *draws, index uint64, r *rounds.Settled) {
	at := d.n % len(page{})
	if at == 0 {
		if n := len(*p); n > 0 {
			d.pages = append(d.pages, (*p)[n-1])
			*p = (*p)[:n-1]
		} else {
			d.pages = append(d.pages, new(page))
		}
	}
	d.pages[len(d.pages)-1][at] = draw{player: r.Player, n: r.Draw.N, enabled: r.Enabled, index: index, r: r.Draw.R}
	d.n++
}

// free takes back the memory of draws that are proven.
func (p *pages) free(d *draws) {
	*p = append(*p, d.pages...)
	*d = draws{}
}

// prove recomputes every draw under the key of its epoch, in parallel, and
// returns how many are the same, with a finding for each that differs.
func (d *draws) prove(drawer *chance.Drawer, nonce func(entry.Ref) []byte, games *machines, workers int) (proven int, found []Finding) {
	todo := make(chan []draw, len(d.pages))
	for i, p := range d.pages {
		todo <- p[:min(d.n-i*len(p), len(p))]
	}
	close(todo)
	var mu sync.Mutex
	var done sync.WaitGroup
	for range min(workers, len(d.pages)) {
		done.Go(func() {
			var g *game
			var enabled uint64
			for part := range todo {
				same := 0
				for i := range part {
					p := &part[i]
					if g == nil || enabled != p.enabled {
						g, enabled = games.get(p.enabled), p.enabled
					}
					if g == nil {
						continue // the definition could not be read, which was found
					}
					if r := drawer.Draw(g.id, g.release, p.player, p.n, 0, nonce(p.player)); r != p.r {
						mu.Lock()
						found = append(found, Finding{
							Index: p.index, Type: "round.settled", Rule: "draw",
							Expected: hex.EncodeToString(r[:]) + ", from the epoch's revealed secret",
							Found:    hex.EncodeToString(p.r[:]),
						})
						mu.Unlock()
					} else {
						same++
					}
				}
				mu.Lock()
				proven += same
				mu.Unlock()
			}
		})
	}
	done.Wait()
	slices.SortFunc(found, byIndex)
	return proven, found
}
