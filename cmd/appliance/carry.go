package appliance

import (
	"bytes"
	"context"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"countroom/games/house"
	"countroom/hardware/signer"
	"countroom/ledger"
	ledgerkeys "countroom/ledger/keys"
)

// A key that a machine of a pair is given to exchange another for is carried to the
// other machine, and comes into force only when that one has signed with it: who
// takes over must not find himself without. A key in a file goes sealed, as when a
// machine joins; of a key in a device goes its URI.

// carried is what one machine tells the other of a key.
type carried struct {
	Public string `json:"public"`
	Role   string `json:"role"`
	Sealed []byte `json:"sealed,omitempty"` // the file, of a key that is in one
	URI    string `json:"uri"`              // as the machine has it that gives
}

// carriedMost bounds a carried key, in bytes.
const carriedMost = 64 << 10

// parseCarried reads a key that the other machine gives.
func parseCarried(origin string, b []byte) (k carried, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return k, fmt.Errorf("a carried key: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return k, errors.New("a carried key: something follows it")
	}
	if _, err := parseRing([]byte(k.Role + " " + k.URI + "\n")); err != nil {
		return k, fmt.Errorf("a carried key: %w", err)
	}
	if err := ledgerkeys.Check(k.Role, origin, k.Public); err != nil {
		return k, fmt.Errorf("a carried key: public: %w", err)
	}
	if signer.InFile(k.URI) != (len(k.Sealed) > 0) {
		return k, fmt.Errorf("a carried key: sealed: expected the file of a key in a file, and of no other: %s", k.URI)
	}
	return k, nil
}

// carryInfo binds a sealed key to whom it is for.
func carryInfo(origin, name string) []byte {
	return []byte("countroom/pair-key/v1\n" + origin + "\n" + name)
}

// others are the machines that may have to take over.
func (p *Pair) others() (names []string) {
	for _, m := range p.node.Members() {
		if !m.Arbiter && m.Name != p.pc.Seat.Name {
			names = append(names, m.Name)
		}
	}
	return names
}

// lacks is a machine that has not got a key.
type lacks struct {
	name string
	why  error
}

func (e *lacks) Error() string {
	return fmt.Sprintf("machine %s of the pair has not got the key and could not take over with it in force: %v: see to it that %s runs and can use the key, or take it out of the pair (countroom pair remove %s), and try again", e.name, e.why, e.name, e.name)
}

// Unwrap makes it a house.ErrKeyAbsent.
func (e *lacks) Unwrap() []error { return []error{house.ErrKeyAbsent, e.why} }

// carryWithin bounds what is asked of the other machine for one key.
const carryWithin = 15 * time.Second

// reached asks whether the other machines can be given a key, before it is made.
func (p *Pair) reached(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, carryWithin)
	defer cancel()
	for _, name := range p.others() {
		if err := p.call(ctx, name, http.MethodGet, "/pair/keys/seal", nil, nil); err != nil {
			return &lacks{name, err}
		}
	}
	return nil
}

// carry sees to it that the other machines can sign with a key.
func (p *Pair) carry(ctx context.Context, role, public string) error {
	ctx, cancel := context.WithTimeout(ctx, carryWithin)
	defer cancel()
	for _, name := range p.others() {
		if err := p.carryTo(ctx, name, role, public); err != nil {
			return &lacks{name, err}
		}
	}
	return nil
}

// carryTo does so for one machine.
func (p *Pair) carryTo(ctx context.Context, name, role, public string) error {
	if p.proven(ctx, name, role, public) == nil {
		return nil
	}
	if err := p.give(ctx, name, public); err != nil {
		return err
	}
	return p.proven(ctx, name, role, public)
}

// proven has another machine sign a challenge with a key.
func (p *Pair) proven(ctx context.Context, name, role, public string) error {
	var challenge [32]byte
	rand.Read(challenge[:])
	body, err := json.Marshal(proofWanted{Challenge: hex.EncodeToString(challenge[:]), Public: public})
	if err != nil {
		return err
	}
	var sig []byte
	if err := p.call(ctx, name, http.MethodPost, "/pair/keys/prove", body, &sig); err != nil {
		return err
	}
	if !ledgerkeys.Verify(role, public, house.Attestation(p.pc.Seat.Origin, challenge), sig) {
		return errors.New("its signature with the key does not verify")
	}
	return nil
}

type proofWanted struct {
	Challenge string `json:"challenge"`
	Public    string `json:"public"`
}

// give carries a key of the ring to another machine.
func (p *Pair) give(ctx context.Context, name, public string) error {
	a := p.now()
	one, ok := a.ring.find(public)
	if !ok {
		return errors.New("nor is it in the ring of this machine")
	}
	k := carried{Public: one.Public, Role: one.Role, URI: one.uri}
	if signer.InFile(one.uri) {
		path, _, err := signer.File(one.uri)
		if err != nil {
			return err
		}
		content, err := a.ring.files.ReadPrivate(path)
		if err != nil {
			return err
		}
		defer clear(content)
		var to []byte
		if err := p.call(ctx, name, http.MethodGet, "/pair/keys/seal", nil, &to); err != nil {
			return err
		}
		key, err := joinKEM.NewPublicKey(to)
		if err != nil {
			return fmt.Errorf("the key to seal to: %w", err)
		}
		if k.Sealed, err = hpke.Seal(key, joinKDF, joinAEAD, carryInfo(p.pc.Seat.Origin, name), content); err != nil {
			return err
		}
	}
	body, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return p.call(ctx, name, http.MethodPost, "/pair/keys", body, nil)
}

// serveKeys answers the other machine about keys.
func (p *Pair) serveKeys(mux *http.ServeMux) {
	handle := func(pattern string, do func(ctx context.Context, body []byte) ([]byte, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, carriedMost))
			var answer []byte
			if err == nil {
				answer, err = do(r.Context(), body)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
				return
			}
			_, _ = w.Write(answer)
		})
	}
	handle("GET /pair/keys/seal", func(context.Context, []byte) ([]byte, error) { return p.seal.PublicKey().Bytes(), nil })
	handle("POST /pair/keys/prove", func(_ context.Context, body []byte) ([]byte, error) {
		var want proofWanted
		if err := json.Unmarshal(body, &want); err != nil {
			return nil, err
		}
		challenge, err := hex.DecodeString(want.Challenge)
		if err != nil || len(challenge) != 32 {
			return nil, errors.New("challenge: expected 64 hex digits")
		}
		return p.now().House.Attest(want.Public, [32]byte(challenge))
	})
	handle("POST /pair/keys", func(ctx context.Context, body []byte) ([]byte, error) { return nil, p.take(ctx, body) })
}

// take puts a key at hand that the other machine gives.
func (p *Pair) take(ctx context.Context, body []byte) error {
	k, err := parseCarried(p.pc.Seat.Origin, body)
	if err != nil {
		return err
	}
	for {
		a := p.now()
		if _, ok := a.ring.find(k.Public); !ok {
			uri := k.URI
			if len(k.Sealed) > 0 {
				if uri, err = p.keep(a, &k); err != nil {
					return err
				}
			}
			one, err := a.putKey(ctx, k.Role, uri, k.Public, signer.Open)
			if err != nil {
				return err
			}
			p.log.Info("a key was carried here from the other machine", "role", k.Role, "uri", uri, "assurance", one.Assurance)
		}
		if p.now() == a { // else its house was replaced, perhaps without the key
			return nil
		}
	}
}

// keep writes the file of a key, under a name that follows from the key, and
// returns its URI here. A passphrase is not carried: its file is to be at the same
// path.
func (p *Pair) keep(a *Appliance, k *carried) (uri string, err error) {
	content, err := hpke.Open(p.seal, joinKDF, joinAEAD, carryInfo(p.pc.Seat.Origin, p.pc.Seat.Name), k.Sealed)
	if err != nil {
		return "", fmt.Errorf("a carried key: sealed: %w", err)
	}
	defer clear(content)
	_, passphrase, err := signer.File(k.URI)
	if err != nil {
		return "", err
	}
	name := sha256.Sum256([]byte(k.Public))
	path := filepath.Join(filepath.Dir(a.ring.path), k.Role+"-"+hex.EncodeToString(name[:8])+".pem")
	if err = a.ring.files.CreatePrivate(path, content); errors.Is(err, fs.ErrExist) {
		var there []byte
		if there, err = a.ring.files.ReadPrivate(path); err == nil && !bytes.Equal(there, content) {
			err = fmt.Errorf("%s: expected the carried key, or no file", path)
		}
		clear(there)
	}
	if uri = signer.InFileAt(path, passphrase); err == nil && strings.ContainsAny(uri, " \r\n\t") {
		err = fmt.Errorf("%s: expected a path without white space", path)
	}
	return uri, err
}

// carryAgainEvery is how often a machine that writes looks whether the other one
// has all keys: one that was away, or joined meanwhile, may not.
const carryAgainEvery = 2 * time.Second

// carryOn carries what a process of another machine still lacks.
func (p *Pair) carryOn() {
	type process struct {
		seal  string // tells it from the one before
		holds map[string]bool
		told  bool // what it lacks
	}
	others := map[string]*process{}
	tick := time.NewTicker(carryAgainEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.quit:
			return
		}
		if !p.Place().Here {
			continue
		}
		list := p.now().wanted()
		if len(list) == 0 {
			continue
		}
		for _, name := range p.others() {
			ctx, cancel := context.WithTimeout(context.Background(), carryWithin)
			var seal []byte
			if err := p.call(ctx, name, http.MethodGet, "/pair/keys/seal", nil, &seal); err != nil {
				cancel()
				continue // it is away, and others say so
			}
			other := others[name]
			if other == nil || other.seal != string(seal) {
				other = &process{seal: string(seal), holds: map[string]bool{}}
				others[name] = other
			}
			for _, one := range list {
				if other.holds[one.Public] {
					continue
				}
				err := p.carryTo(ctx, name, one.Role, one.Public)
				if other.holds[one.Public] = err == nil; err != nil && !other.told {
					p.log.Error("the other machine has not got a key of this house", "name", name, "role", one.Role, "uri", one.uri, "error", err)
					other.told = true
				}
			}
			cancel()
		}
	}
}

// wanted are the keys of the ring that the log has not retired.
func (a *Appliance) wanted() (list []ringKey) {
	retired := map[string]bool{}
	err := a.Ledger.Peek(func(d ledger.Durable) error {
		for _, k := range ledgerkeys.List(d) {
			retired[k.Public] = k.Retired != 0
		}
		return nil
	})
	if err != nil {
		return nil // the house is closing
	}
	a.ring.mu.Lock()
	defer a.ring.mu.Unlock()
	for _, k := range a.ring.more {
		if !retired[k.Public] {
			list = append(list, k)
		}
	}
	return list
}

// ringName is the ring's file in a house's directory.
const ringName = "keys/ring"

// packRing makes the ring of a house ready for a machine that joins, whose
// directory may be another: what it has in files goes along, and is named as it
// will be there.
func packRing(dir string, files map[string][]byte) error {
	list, err := parseRing(files[ringName])
	if err != nil || len(list) == 0 {
		return err
	}
	var packed []byte
	for _, k := range list {
		if signer.InFile(k.uri) {
			path, passphrase, err := signer.File(k.uri)
			if err != nil {
				return err
			}
			name := "keys/" + filepath.Base(path)
			if there, err := filepath.Abs(path); err != nil {
				return err
			} else if own, err := filepath.Abs(filepath.Join(dir, name)); err != nil {
				return err
			} else if there != own {
				of := sha256.Sum256([]byte(k.uri))
				name = "keys/" + k.Role + "-" + hex.EncodeToString(of[:8]) + ".pem"
				content, err := disk{}.ReadPrivate(path)
				if errors.Is(err, fs.ErrNotExist) { // as on this machine, it is missed when it is in force
					content, err = nil, nil
				}
				if err != nil {
					return err
				}
				if content != nil {
					files[name] = content
				}
			}
			k.uri = signer.InFileAt(name, passphrase)
		}
		packed = append(packed, k.Role+" "+k.uri+"\n"...)
	}
	files[ringName] = packed
	return nil
}

// ringAt undoes it for the directory in which the files are.
func ringAt(dir string, packed []byte) (b []byte, err error) {
	list, err := parseRing(packed)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	for _, k := range list {
		if signer.InFile(k.uri) {
			path, passphrase, err := signer.File(k.uri)
			if err != nil {
				return nil, err
			}
			if !filepath.IsAbs(path) {
				k.uri = signer.InFileAt(filepath.Join(dir, path), passphrase)
			}
		}
		b = append(b, k.Role+" "+k.uri+"\n"...)
	}
	return b, nil
}
