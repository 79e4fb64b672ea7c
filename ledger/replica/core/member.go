package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Member is a node of the group. Its name is its identity for ever: a machine that comes back without its log has promised
// things it does not remember, so it comes back under a new name.
type Member struct {
	Name    string `json:"name"`
	Address string `json:"address"` // host:port of its consensus door
	Arbiter bool   `json:"arbiter,omitempty"`
}

// ID is the member's number in the consensus.
func (m Member) ID(origin string) uint64 {
	h := sha256.New()
	for _, s := range []string{"countroom/member/v1", origin, m.Name} {
		_ = binary.Write(h, binary.BigEndian, uint32(len(s)))
		_, _ = io.WriteString(h, s)
	}
	id := binary.BigEndian.Uint64(h.Sum(nil)) >> 1 // the largest numbers mean something to raft
	return max(id, 1)
}

const maxName = 64

// Check says what is wrong with a member.
func (m Member) Check() error {
	if len(m.Name) == 0 || len(m.Name) > maxName {
		return fmt.Errorf("name %q has %d characters, want 1 to %d", m.Name, len(m.Name), maxName)
	}
	for _, c := range []byte(m.Name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return fmt.Errorf("name %q has a character %q, want letters, digits, . and -", m.Name, c)
		}
	}
	if m.Address == "" || len(m.Address) > 300 {
		return fmt.Errorf("address of %s has %d characters, want host:port", m.Name, len(m.Address))
	}
	return nil
}

// CheckMembers says what is wrong with a group.
func CheckMembers(origin string, ms []Member) error {
	names := map[string]bool{}
	ids := map[uint64]string{}
	full := 0
	for _, m := range ms {
		if err := m.Check(); err != nil {
			return fmt.Errorf("members: %w", err)
		}
		if names[m.Name] {
			return fmt.Errorf("members: two have the name %q", m.Name)
		}
		names[m.Name] = true
		id := m.ID(origin)
		if other, ok := ids[id]; ok {
			return fmt.Errorf("members: %q and %q come to the same number; choose another name", other, m.Name)
		}
		ids[id] = m.Name
		if !m.Arbiter {
			full++
		}
	}
	if full == 0 {
		return errors.New("members: no full machine, want one at least")
	}
	return nil
}

// EncodeMembers encodes a group, in the order of names.
func EncodeMembers(ms []Member) []byte {
	ms = slices.Clone(ms)
	slices.SortFunc(ms, func(a, b Member) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	b, err := json.Marshal(ms)
	if err != nil {
		panic(err) // strings and a bool
	}
	return b
}

// DecodeMembers is the inverse of EncodeMembers.
func DecodeMembers(b []byte) (ms []Member, err error) {
	if err := decode(b, &ms); err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	return ms, nil
}

func decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows")
	}
	return nil
}
