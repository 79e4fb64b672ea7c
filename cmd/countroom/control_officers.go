package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"countroom/games/house"
	"countroom/ledger/book"
	"countroom/ledger/system"
)

// houseView is what the control socket tells of officers and keys.
type houseView struct {
	Origin   string        `json:"origin"`
	Officers []officerView `json:"officers"`
	Keys     []keyView     `json:"keys"`
}

type officerView struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Public    string `json:"public"`
	Enrolled  uint64 `json:"enrolled"`
	Retired   bool   `json:"retired"`
}

type keyView struct {
	Role       string `json:"role"`
	Algorithm  string `json:"algorithm"`
	Assurance  string `json:"assurance"`
	Demo       bool   `json:"demo"`
	AtHand     bool   `json:"at_hand"`
	Public     string `json:"public"`
	Introduced uint64 `json:"introduced"`
	Retired    uint64 `json:"retired,omitempty"`
	Signature  string `json:"signature,omitempty"` // over the attestation of a challenge
}

type putKey struct {
	Role   string `json:"role"`
	URI    string `json:"uri"`
	Create bool   `json:"create"`
}

type approvedRequest struct {
	Proposal  json.RawMessage `json:"proposal"`
	Approvals []approval      `json:"approvals"`
}

// officers serves what takes officers on the control socket.
func (d *door) officers(mux *http.ServeMux) {
	handle := func(pattern string, do func(ctx context.Context, room *room, body []byte) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2*ceremonyMost))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			room := d.visit()
			defer room.inside.Done()
			answer, err := do(r.Context(), room, body)
			switch {
			case errors.Is(err, book.ErrBroken), errors.Is(err, house.ErrKeyAbsent), errors.Is(err, house.ErrOpens):
				http.Error(w, err.Error(), http.StatusConflict)
			case err != nil:
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			default:
				w.Header().Set("Content-Type", "application/json")
				json.NewEncoder(w).Encode(answer)
			}
		})
	}
	d.seeds(handle)
	handle("GET /house", func(ctx context.Context, room *room, _ []byte) (any, error) { return viewHouse(ctx, room) })
	handle("POST /keys/attest", attest)
	handle("GET /keys/history", history)
	handle("POST /keys/put", func(ctx context.Context, room *room, body []byte) (any, error) {
		var put putKey
		if err := strictly(body, &put); err != nil {
			return nil, err
		}
		k, err := room.PutKey(ctx, put.Role, put.URI, put.Create)
		if err != nil {
			return nil, err
		}
		r, err := room.House.Introduction(ctx, k)
		if err != nil {
			return nil, err
		}
		return draft(room.Ledger.Origin(), r, house.Words{})
	})
	handle("POST /approved", func(ctx context.Context, room *room, body []byte) (any, error) {
		var req approvedRequest
		if err := strictly(body, &req); err != nil {
			return nil, err
		}
		p, r, words, err := parseProposal(req.Proposal)
		if err != nil {
			return nil, err
		}
		if p.Origin != room.Ledger.Origin() {
			return nil, fmt.Errorf("the proposal is for %q, this house is %q", p.Origin, room.Ledger.Origin())
		}
		if err := collect(p.Origin, r, req.Approvals); err != nil {
			return nil, err
		}
		receipt, err := room.House.Approve(ctx, r, words)
		if err != nil {
			return nil, err
		}
		if err := room.WriteVKey(); err != nil { // the start writes it, too
			return nil, fmt.Errorf("entry %d was made, but log.vkey could not be written: %w", receipt.Index, err)
		}
		return savedAnswer(receipt.Index, receipt.Leaf, receipt.Proof), nil
	})
}

type answer struct {
	Index   uint64          `json:"index"`
	Leaf    json.RawMessage `json:"leaf"`
	Receipt string          `json:"receipt"`
}

func savedAnswer(index uint64, leaf, proof []byte) answer {
	return answer{index, leaf, string(proof)}
}

func viewHouse(ctx context.Context, room *room) (v houseView, err error) {
	v.Origin = room.Ledger.Origin()
	list, err := room.House.Officers(ctx)
	if err != nil {
		return v, err
	}
	for _, o := range list {
		v.Officers = append(v.Officers, officerView{o.Name, o.Algorithm, hex.EncodeToString(o.Public), o.Index, o.Retired})
	}
	all, err := room.House.Keys(ctx)
	if err != nil {
		return v, err
	}
	for _, k := range all {
		v.Keys = append(v.Keys, keyView{
			Role: k.Role, Algorithm: k.Algorithm, Assurance: k.Assurance, Demo: k.Demo(), AtHand: k.AtHand, Public: k.Public, Introduced: k.Introduced, Retired: k.Retired,
		})
	}
	return v, nil
}

// attest has each key in force that is at hand sign a challenge.
func attest(ctx context.Context, room *room, body []byte) (any, error) {
	var req struct {
		Challenge string `json:"challenge"`
	}
	if err := strictly(body, &req); err != nil {
		return nil, err
	}
	challenge, err := hex.DecodeString(req.Challenge)
	if err != nil || len(challenge) != 32 {
		return nil, errors.New("challenge: expected 64 hex digits")
	}
	v, err := viewHouse(ctx, room)
	if err != nil {
		return nil, err
	}
	v.Keys = slices.DeleteFunc(v.Keys, func(k keyView) bool { return k.Retired != 0 })
	for i := range v.Keys {
		sig, err := room.House.Attest(v.Keys[i].Public, [32]byte(challenge))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Keys[i].Role, err)
		}
		v.Keys[i].Signature = hex.EncodeToString(sig)
	}
	return v, nil
}

// history gives the entries that exchanged the checkpoint key, with receipts.
func history(ctx context.Context, room *room, _ []byte) (any, error) {
	all, err := room.House.Keys(ctx)
	if err != nil {
		return nil, err
	}
	var at []uint64
	for _, k := range all {
		if k.Role == system.RoleCheckpoint && k.Introduced > 0 {
			at = append(at, k.Introduced)
		}
		if k.Role == system.RoleCheckpoint && k.Retired > 0 {
			at = append(at, k.Retired)
		}
	}
	slices.Sort(at)
	items := []answer{}
	for _, index := range at {
		e, err := room.Ledger.Entry(index)
		if err != nil {
			return nil, err
		}
		items = append(items, savedAnswer(e.Index, e.Leaf, e.Proof))
	}
	return map[string]any{"items": items}, nil
}

// ask has the server of a data directory do something. out may be a
// *json.RawMessage.
func ask(ctx context.Context, dir, method, path string, in, out any) error {
	socket := filepath.Join(dir, controlSocket)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://countroom"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w: start it first", dir, errNoServer)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server refused: %s", clean(strings.TrimSpace(string(b))))
	}
	return json.Unmarshal(b, out)
}

// demoKeys is a line about the keys in force that are for demonstration, "" when
// there are none.
func demoKeys(ctx context.Context, room *room) string {
	v, err := viewHouse(ctx, room)
	var roles []string
	for _, k := range v.Keys {
		if k.Demo && k.Retired == 0 {
			roles = append(roles, k.Role)
		}
	}
	if err != nil || len(roles) == 0 {
		return ""
	}
	return fmt.Sprintf("  keys           %s: in files, DEMONSTRATION keys\n", strings.Join(roles, ", "))
}
