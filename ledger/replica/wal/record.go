package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"countroom/ledger/replica/core"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Version counts changes of the log's format. A program opens its own version only.
const Version = 1

// A record is a header of 16 bytes and its payload, at an offset that 8 divides:
//
//	length of the payload   uint32, little-endian like the rest
//	kind                    uint8, and three zero bytes
//	synced                  uint32, how much of the segment was synced when this record was written
//	CRC-32C                 uint32, over the segment's number, the record's offset, the 12 bytes above and the payload
//
// The CRC covers the place, so that a record is valid only where it was written; synced tells a torn write from damage
// (see scan).
const (
	headerBytes = 16
	magic       = "countroom/log"

	kindSegment = 1 // first of each segment
	kindEntry   = 2
	kindHard    = 3
	kindConf    = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecord = errors.New("not a record")

func padded(n int) int { return (n + 7) &^ 7 }

func checksum(segment uint64, offset uint32, header, payload []byte) uint32 {
	var place [12]byte
	binary.LittleEndian.PutUint64(place[:], segment)
	binary.LittleEndian.PutUint32(place[8:], offset)
	c := crc32.Update(0, castagnoli, place[:])
	c = crc32.Update(c, castagnoli, header[:12])
	return crc32.Update(c, castagnoli, payload)
}

// appendRecord appends a record that will stand at offset.
func appendRecord(dst []byte, segment uint64, offset, synced uint32, kind byte, payload []byte) []byte {
	k := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, kind, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, synced)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(segment, offset, dst[k:], payload))
	dst = append(dst, payload...)
	return append(dst, make([]byte, padded(len(payload))-len(payload))...)
}

// parseRecord reads the record at offset of a segment's content. The payload is a part of content.
func parseRecord(content []byte, segment uint64, offset int) (kind byte, synced uint32, payload []byte, err error) {
	if len(content)-offset < headerBytes {
		return 0, 0, nil, errRecord
	}
	h := content[offset : offset+headerBytes]
	n := int(binary.LittleEndian.Uint32(h))
	if n > len(content)-offset-headerBytes || h[5]|h[6]|h[7] != 0 {
		return 0, 0, nil, errRecord
	}
	payload = content[offset+headerBytes : offset+headerBytes+n]
	if checksum(segment, uint32(offset), h, payload) != binary.LittleEndian.Uint32(h[12:]) {
		return 0, 0, nil, errRecord
	}
	return h[4], binary.LittleEndian.Uint32(h[8:]), payload, nil
}

// An entry's payload is index, term and kind, then its data.
const entryBytes = 17

func appendEntry(dst []byte, e *raftpb.Entry) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, e.GetIndex())
	dst = binary.LittleEndian.AppendUint64(dst, e.GetTerm())
	dst = append(dst, byte(e.GetType()))
	return append(dst, e.Data...)
}

func parseEntry(b []byte) (*raftpb.Entry, error) {
	if len(b) < entryBytes {
		return nil, fmt.Errorf("an entry of %d bytes, want at least %d", len(b), entryBytes)
	}
	if b[16] > byte(raftpb.EntryType_EntryConfChangeV2) {
		return nil, fmt.Errorf("an entry of kind %d, want 0 to %d", b[16], raftpb.EntryType_EntryConfChangeV2)
	}
	e := &raftpb.Entry{
		Index: new(binary.LittleEndian.Uint64(b)), Term: new(binary.LittleEndian.Uint64(b[8:])),
		Type: raftpb.EntryType(b[16]).Enum(),
	}
	if len(b) > entryBytes {
		e.Data = b[entryBytes:len(b):len(b)]
	}
	return e, nil
}

func appendHard(dst []byte, h core.Hard) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, h.Term)
	dst = binary.LittleEndian.AppendUint64(dst, h.Vote)
	return binary.LittleEndian.AppendUint64(dst, h.Commit)
}

func parseHard(b []byte) (h core.Hard, err error) {
	if len(b) != 24 {
		return h, fmt.Errorf("a hard state of %d bytes, want 24", len(b))
	}
	return core.Hard{Term: binary.LittleEndian.Uint64(b), Vote: binary.LittleEndian.Uint64(b[8:]), Commit: binary.LittleEndian.Uint64(b[16:])}, nil
}

// AppendConf appends the encoding of a configuration.
func AppendConf(dst []byte, c core.Conf) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, c.Index)
	state, err := proto.MarshalOptions{Deterministic: true}.Marshal(raftpb.EnsureConfState(c.State))
	if err != nil {
		panic(err) // it holds only numbers
	}
	dst = appendBytes(dst, state)
	return appendBytes(dst, c.Members)
}

// ParseConf is the inverse of AppendConf.
func ParseConf(b []byte) (c core.Conf, err error) {
	if len(b) < 8 {
		return c, fmt.Errorf("a configuration of %d bytes", len(b))
	}
	c.Index = binary.LittleEndian.Uint64(b)
	state, b, err := cutBytes(b[8:])
	if err != nil {
		return c, err
	}
	c.State = &raftpb.ConfState{}
	if err := proto.Unmarshal(state, c.State); err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	members, b, err := cutBytes(b)
	if err != nil {
		return c, err
	}
	if len(b) != 0 {
		return c, fmt.Errorf("configuration: %d bytes are left over", len(b))
	}
	c.Members = append([]byte(nil), members...)
	return c, nil
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b)))
	return append(dst, b...)
}

func cutBytes(b []byte) (field, rest []byte, err error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, errors.New("a field is cut off")
	}
	n := 4 + int(binary.LittleEndian.Uint32(b))
	return b[4:n], b[n:], nil
}

// segmentHead is the first record of a segment: all that is needed to go on without the segments before it.
type segmentHead struct {
	number uint64
	since  uint64 // number of the segment with which the log begins; what is before it is left over
	size   uint64 // of the file
	origin string // of the house
	node   uint64
	base   uint64 // index of the entry before the segment's first
	term   uint64 // of that entry
	hard   core.Hard
	conf   core.Conf
}

func appendSegmentHead(dst []byte, s segmentHead) []byte {
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, Version)
	dst = appendBytes(dst, []byte(s.origin))
	for _, n := range []uint64{s.number, s.since, s.size, s.node, s.base, s.term} {
		dst = binary.LittleEndian.AppendUint64(dst, n)
	}
	dst = appendHard(dst, s.hard)
	return AppendConf(dst, s.conf)
}

func parseSegmentHead(b []byte) (s segmentHead, err error) {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return s, errors.New("it is not a log of countroom")
	}
	if v := binary.LittleEndian.Uint32(b[len(magic):]); v != Version {
		return s, fmt.Errorf("it has format version %d, this program knows %d: use the program that wrote it", v, Version)
	}
	origin, b, err := cutBytes(b[len(magic)+4:])
	if err != nil {
		return s, err
	}
	s.origin = string(origin)
	if len(b) < 6*8+24 {
		return s, errors.New("its head is cut off")
	}
	for i, n := range []*uint64{&s.number, &s.since, &s.size, &s.node, &s.base, &s.term} {
		*n = binary.LittleEndian.Uint64(b[8*i:])
	}
	if s.hard, err = parseHard(b[48:72]); err != nil {
		return s, err
	}
	s.conf, err = ParseConf(b[72:])
	return s, err
}

// EncodeEntries encodes entries for a file of evidence: records, as they would stand in a segment 0.
func EncodeEntries(entries []*raftpb.Entry) (out []byte) {
	for _, e := range entries {
		out = appendRecord(out, 0, uint32(len(out)), 0, kindEntry, appendEntry(nil, e))
	}
	return out
}

// DecodeEntries is the inverse of EncodeEntries.
func DecodeEntries(b []byte) (entries []*raftpb.Entry, err error) {
	for off := 0; off < len(b); {
		kind, _, payload, err := parseRecord(b, 0, off)
		if err != nil || kind != kindEntry {
			return nil, fmt.Errorf("at %d: %w", off, errRecord)
		}
		e, err := parseEntry(payload)
		if err != nil {
			return nil, fmt.Errorf("at %d: %w", off, err)
		}
		entries = append(entries, e)
		off += headerBytes + padded(len(payload))
	}
	return entries, nil
}
