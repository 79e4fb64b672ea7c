package export

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
)

// The container is a ZIP file (APPNOTE 6.3, ZIP64) of stored entries without gaps, in the one form that its entries
// have: a reader builds the central directory anew and demands these bytes. So there is nothing to unpack, nothing
// between or behind the entries, and no two readers can see two files.

const (
	localMagic     = 0x04034b50
	centralMagic   = 0x02014b50
	end64Magic     = 0x06064b50
	locatorMagic   = 0x07064b50
	endMagic       = 0x06054b50
	zipVersion     = 45        // ZIP64
	zipMadeBy      = 3<<8 | 45 // Unix
	zipDate        = 1<<5 | 1  // 1 January 1980
	zipMode        = 0o100644 << 16
	localSize      = 30 + 20 // without the name
	centralSize    = 46 + 28
	endSize        = 56 + 20 + 22
	entriesMost    = 4096
	nameMost       = 128
	unknownUint32  = math.MaxUint32
	unknownUint16  = math.MaxUint16
	zip64ExtraType = 1
)

// member is one entry of a container.
type member struct {
	name   string
	size   int64
	crc    uint32
	header int64 // where its local header begins
}

func (m *member) begin() int64 { return m.header + localSize + int64(len(m.name)) }

// appendLocal appends the local header.
func (m *member) appendLocal(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, localMagic)
	b = m.appendCommon(b, 20)
	b = append(b, m.name...)
	b = le.AppendUint16(le.AppendUint16(b, zip64ExtraType), 16)
	b = le.AppendUint64(b, uint64(m.size))
	return le.AppendUint64(b, uint64(m.size))
}

// appendCommon appends what the two headers of an entry share.
func (m *member) appendCommon(b []byte, extra uint16) []byte {
	le := binary.LittleEndian
	for _, v := range []uint16{zipVersion, 0, 0, 0, zipDate} { // no flags, stored, midnight
		b = le.AppendUint16(b, v)
	}
	for _, v := range []uint32{m.crc, unknownUint32, unknownUint32} {
		b = le.AppendUint32(b, v)
	}
	return le.AppendUint16(le.AppendUint16(b, uint16(len(m.name))), extra)
}

// appendDirectory appends what stands behind the last entry.
func appendDirectory(b []byte, list []member, at int64) []byte {
	le := binary.LittleEndian
	start := len(b)
	for i := range list {
		m := &list[i]
		b = le.AppendUint32(b, centralMagic)
		b = le.AppendUint16(b, zipMadeBy)
		b = m.appendCommon(b, 28)
		b = append(b, 0, 0, 0, 0, 0, 0) // comment, disk, attributes inside
		b = le.AppendUint32(b, zipMode)
		b = le.AppendUint32(b, unknownUint32)
		b = append(b, m.name...)
		b = le.AppendUint16(le.AppendUint16(b, zip64ExtraType), 24)
		for _, v := range []int64{m.size, m.size, m.header} {
			b = le.AppendUint64(b, uint64(v))
		}
	}
	size := uint64(len(b) - start)
	b = le.AppendUint32(b, end64Magic)
	b = le.AppendUint64(b, 44)
	b = le.AppendUint16(le.AppendUint16(b, zipMadeBy), zipVersion)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // disks
	for _, v := range []uint64{uint64(len(list)), uint64(len(list)), size, uint64(at)} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, locatorMagic)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(at)+size)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, endMagic)
	for _, v := range []uint16{0, 0, unknownUint16, unknownUint16} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(le.AppendUint32(b, unknownUint32), unknownUint32)
	return le.AppendUint16(b, 0)
}

// validName holds the names that an entry may have: file names, at most one folder deep, that no system takes for
// anything else.
func validName(name string) bool {
	if name == "" || len(name) > nameMost {
		return false
	}
	folders, start := 0, true
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			start = false
		case start: // of the name or of the part behind the folder
			return false
		case c == '-' || c == '.':
		case c == '/':
			folders++
			start = true
		default:
			return false
		}
	}
	return folders <= 1 && !start
}

// packer writes a container to a file that is empty.
type packer struct {
	out  io.WriterAt
	list []member
	at   int64
}

// tee writes one entry, and hashes it beside.
type tee struct {
	out  io.Writer
	hash hash.Hash
	sum  hash.Hash32
	n    int64
}

func (t *tee) Write(p []byte) (int, error) {
	t.hash.Write(p)
	t.sum.Write(p)
	n, err := t.out.Write(p)
	t.n += int64(n)
	return n, err
}

// bufferSize is that of writers and readers of entries.
const bufferSize = 1 << 18

// add writes an entry, and returns what the manifest says of it.
func (p *packer) add(name string, write func(io.Writer) error) (File, error) {
	if !validName(name) || len(p.list) == entriesMost {
		return File{}, fmt.Errorf("%w: no entry %q can be added to %d", ErrContainer, name, len(p.list))
	}
	m := member{name: name, header: p.at}
	out := bufio.NewWriterSize(io.NewOffsetWriter(p.out, m.begin()), bufferSize)
	t := &tee{out: out, hash: newHash(), sum: crc32.NewIEEE()}
	buffered := bufio.NewWriterSize(t, bufferSize) // hashes are fast on large pieces only
	if err := write(buffered); err != nil {
		return File{}, err
	}
	if err := errors.Join(buffered.Flush(), out.Flush()); err != nil {
		return File{}, err
	}
	m.size, m.crc = t.n, t.sum.Sum32()
	if _, err := p.out.WriteAt(m.appendLocal(nil), m.header); err != nil {
		return File{}, err
	}
	p.at = m.begin() + m.size
	p.list = append(p.list, m)
	return File{Name: name, Bytes: m.size, SHA256: hexOf(t.hash)}, nil
}

// end writes the directory and returns the length of the file.
func (p *packer) end() (int64, error) {
	b := appendDirectory(nil, p.list, p.at)
	_, err := p.out.WriteAt(b, p.at)
	return p.at + int64(len(b)), err
}

// container is a file that was opened for reading.
type container struct {
	in   io.ReaderAt
	list []member
	by   map[string]*member
}

// openContainer reads where a container's entries are. It does not look into them.
func openContainer(in io.ReaderAt, size int64) (*container, error) {
	broken := func(at int64, expected string, args ...any) error {
		return fmt.Errorf("%w: at byte %d expected %s", ErrContainer, at, fmt.Sprintf(expected, args...))
	}
	c := &container{in: in, by: map[string]*member{}}
	var buf [localSize + nameMost]byte
	at := int64(0)
	for {
		if at > size-endSize {
			return nil, broken(size, "the end of a container: it is cut off")
		}
		head := buf[:min(int64(len(buf)), size-at)]
		if _, err := in.ReadAt(head, at); err != nil && err != io.EOF {
			return nil, err
		}
		if binary.LittleEndian.Uint32(head) != localMagic {
			break
		}
		if len(c.list) == entriesMost {
			return nil, broken(at, "at most %d entries", entriesMost)
		}
		n := int(binary.LittleEndian.Uint16(head[26:]))
		if n > nameMost || localSize+n > len(head) {
			return nil, broken(at, "a name of at most %d bytes", nameMost)
		}
		m := member{name: string(head[30 : 30+n]), header: at, crc: binary.LittleEndian.Uint32(head[14:])}
		if !validName(m.name) {
			return nil, broken(at, "a plain file name, found %q", m.name)
		}
		length := binary.LittleEndian.Uint64(head[30+n+4:])
		if length > uint64(size-endSize-m.begin()) || m.begin() > size-endSize {
			return nil, broken(at, "%q to end before the end of the file: it is cut off, or longer than it is", m.name)
		}
		m.size = int64(length)
		if !bytes.Equal(m.appendLocal(nil), head[:localSize+n]) {
			return nil, broken(at, "the one header that %q can have: stored, and nothing else", m.name)
		}
		if _, twice := c.by[m.name]; twice {
			return nil, broken(at, "%q once", m.name)
		}
		c.by[m.name] = nil
		c.list = append(c.list, m)
		at = m.begin() + m.size
	}
	want := appendDirectory(nil, c.list, at)
	if int64(len(want)) != size-at {
		return nil, broken(at, "a directory of the %d entries, %d bytes, and nothing else", len(c.list), len(want))
	}
	got := make([]byte, len(want))
	if _, err := in.ReadAt(got, at); err != nil && err != io.EOF {
		return nil, err
	}
	if !bytes.Equal(got, want) {
		return nil, broken(at, "the directory of the entries that are there")
	}
	for i := range c.list {
		c.by[c.list[i].name] = &c.list[i]
	}
	return c, nil
}

// open returns a reader of an entry.
func (c *container) open(name string) (*io.SectionReader, error) {
	m := c.by[name]
	if m == nil {
		return nil, fmt.Errorf("%w: expected %s in it", ErrContainer, name)
	}
	return io.NewSectionReader(c.in, m.begin(), m.size), nil
}

// read returns an entry of at most so many bytes.
func (c *container) read(name string, most int64) ([]byte, error) {
	r, err := c.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > most {
		return nil, fmt.Errorf("%w: %s of %d bytes, expected at most %d", ErrContainer, name, r.Size(), most)
	}
	b := make([]byte, r.Size())
	_, err = io.ReadFull(r, b)
	return b, err
}
