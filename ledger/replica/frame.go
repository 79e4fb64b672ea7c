package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"countroom/ledger/replica/core"
)

// Nodes speak in frames: length of the payload (4 bytes), kind (1), CRC-32C over the frame's number in its direction, the
// kind and the payload (4), payload. A frame that is not as it was sent ends the connection.
const (
	// oldestVersion and newestVersion are the formats of frames and entries that this program speaks. Nodes of different
	// versions speak the newest that both know, or not at all.
	oldestVersion = 1
	newestVersion = 1

	frameHead = 9

	frameHello   = 1 // who calls whom, and what for
	frameWelcome = 2 // the version that is spoken from here on
	frameRefuse  = 3 // why not
	frameReport  = 4 // what the node says of itself
	frameMessage = 5 // of raft

	helloMost   = 64 << 10
	messageMost = 320 << 20 // a batch of the store's size, and room for what is around it
)

var errFrame = errors.New("a frame is not as it was sent")

func frameSum(number uint64, kind byte, payload []byte) uint32 {
	c := crc32.Checksum(append(binary.BigEndian.AppendUint64(make([]byte, 0, 9), number), kind), castagnoli)
	return crc32.Update(c, castagnoli, payload)
}

func writeFrame(w io.Writer, number uint64, kind byte, payload []byte) error {
	head := binary.BigEndian.AppendUint32(make([]byte, 0, frameHead), uint32(len(payload)))
	head = append(head, kind)
	head = binary.BigEndian.AppendUint32(head, frameSum(number, kind, payload))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

func readFrame(r io.Reader, number uint64) (kind byte, payload []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	kind = head[4]
	most := int64(helloMost)
	if kind == frameMessage {
		most = messageMost
	}
	if n > most {
		return 0, nil, fmt.Errorf("%w: %d bytes of kind %d, want at most %d", errFrame, n, kind, most)
	}
	// What was announced is not believed before it is there.
	for step := int64(1 << 20); int64(len(payload)) < n; step *= 2 {
		k := len(payload)
		payload = append(payload, make([]byte, min(step, n-int64(k)))...)
		if _, err := io.ReadFull(r, payload[k:]); err != nil {
			return 0, nil, fmt.Errorf("%w: cut off: %w", errFrame, err)
		}
	}
	if frameSum(number, kind, payload) != binary.BigEndian.Uint32(head[5:]) {
		return 0, nil, fmt.Errorf("%w: frame %d", errFrame, number)
	}
	return kind, payload, nil
}

// What a connection is for.
const (
	forMessages = 1
	forState    = 2
)

// hello is the first frame. Its beginning, up to the versions, never changes.
type hello struct {
	oldest, newest uint16
	purpose        byte
	origin         string
	from, to       string
	instance       [16]byte // of the calling process
	last           uint64   // where its log ends
	have           []byte   // with forState
}

const helloMagic = "countroom/replica"

func appendHello(dst []byte, h hello) []byte {
	dst = append(dst, helloMagic...)
	dst = binary.BigEndian.AppendUint16(dst, h.oldest)
	dst = binary.BigEndian.AppendUint16(dst, h.newest)
	dst = append(dst, h.purpose)
	dst = append(dst, h.instance[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.last)
	for _, b := range [][]byte{[]byte(h.origin), []byte(h.from), []byte(h.to), h.have} {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)))
		dst = append(dst, b...)
	}
	return dst
}

var errHello = errors.New("it is not a node of countroom that calls")

// parseHello parses what it can of a hello: of one in a version that is not known, the versions.
func parseHello(b []byte) (h hello, err error) {
	if len(b) < len(helloMagic)+4 || string(b[:len(helloMagic)]) != helloMagic {
		return h, errHello
	}
	b = b[len(helloMagic):]
	h.oldest, h.newest = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if _, err := commonVersion(h.oldest, h.newest); err != nil {
		return h, err
	}
	if b = b[4:]; len(b) < 25 {
		return h, errHello
	}
	h.purpose = b[0]
	copy(h.instance[:], b[1:])
	h.last = binary.BigEndian.Uint64(b[17:])
	b = b[25:]
	var fields [4][]byte
	for i := range fields {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return h, errHello
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		fields[i], b = b[2:n], b[n:]
	}
	if len(b) != 0 {
		return h, errHello
	}
	h.origin, h.from, h.to = string(fields[0]), string(fields[1]), string(fields[2])
	if len(fields[3]) > 0 {
		h.have = fields[3]
	}
	return h, nil
}

func commonVersion(oldest, newest uint16) (uint16, error) {
	v := min(newest, newestVersion)
	if v < max(oldest, oldestVersion) {
		return 0, fmt.Errorf("it speaks the versions %d to %d, this node %d to %d: bring the machines to neighbouring versions, the passive one first", oldest, newest, oldestVersion, newestVersion)
	}
	return v, nil
}

const reportBytes = 10

func appendReport(dst []byte, r core.Report) []byte {
	dst = binary.BigEndian.AppendUint64(dst, r.Durable)
	for _, b := range []bool{r.Fit, r.Restoring} {
		dst = append(dst, map[bool]byte{true: 1}[b])
	}
	return dst
}

func parseReport(b []byte) (r core.Report, err error) {
	if len(b) != reportBytes || b[8] > 1 || b[9] > 1 {
		return r, fmt.Errorf("a report of %d bytes that is none", len(b))
	}
	return core.Report{Durable: binary.BigEndian.Uint64(b), Fit: b[8] == 1, Restoring: b[9] == 1}, nil
}

// Why a node does not talk to another. The one that is refused for ever stops.
const (
	refuseOther   = 1 // it may try again
	refuseForever = 2
)
