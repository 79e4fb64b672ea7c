package tlog

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind says what a path of the published log names.
type Kind int

const (
	// KindTile is a tile of tree hashes.
	KindTile Kind = iota + 1
	// KindEntries is a bundle of entries.
	KindEntries
)

// Resource is a tile or an entry bundle of the published log.
type Resource struct {
	Kind  Kind
	Level int    // tile level, 0 to 63; 0 for entries
	Index uint64 // position within the level
	Width int    // hashes or entries, 1 to TileWidth
}

const (
	tilePrefix    = "tile/"
	entriesPrefix = "tile/entries/"
	levelMax      = 63
	// pathSizeMax is the length of tile/entries/ with the largest index and a
	// three-digit width.
	pathSizeMax = len(entriesPrefix) + 6*len("x018/") + len("615") + len(".p/255")
)

// TilePath returns the path of a hash tile (c2sp.org/tlog-tiles), such as
// tile/0/x001/067 or tile/0/x001/067.p/17. Level is 0 to 63, width 1 to
// TileWidth; it panics outside them.
func TilePath(level int, index uint64, width int) string {
	if level < 0 || level > levelMax {
		panic(fmt.Sprintf("tlog: tile level %d, want 0 to %d", level, levelMax))
	}
	b := append(make([]byte, 0, pathSizeMax), tilePrefix...)
	b = strconv.AppendInt(b, int64(level), 10)
	b = append(b, '/')
	return string(appendIndex(b, index, width))
}

// EntriesPath returns the path of an entry bundle (c2sp.org/tlog-tiles), such
// as tile/entries/x001/067.p/5. Width is 1 to TileWidth; it panics outside.
func EntriesPath(index uint64, width int) string {
	b := append(make([]byte, 0, pathSizeMax), entriesPrefix...)
	return string(appendIndex(b, index, width))
}

func appendIndex(b []byte, index uint64, width int) []byte {
	if width < 1 || width > TileWidth {
		panic(fmt.Sprintf("tlog: tile width %d, want 1 to %d", width, TileWidth))
	}
	group := uint64(1) // value of the last digit of the leading group
	for index/group >= 1000 {
		group *= 1000
	}
	for ; group > 1; group /= 1000 {
		b = append(b, 'x')
		b = append3(b, index/group%1000)
		b = append(b, '/')
	}
	b = append3(b, index%1000)
	if width < TileWidth {
		b = append(b, ".p/"...)
		b = strconv.AppendInt(b, int64(width), 10)
	}
	return b
}

func append3(b []byte, n uint64) []byte {
	return append(b, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

var groupMarks = strings.NewReplacer("x", "", "/", "")

// ParsePath is the exact inverse of TilePath and EntriesPath; any other path
// is ErrFormat.
func ParsePath(path string) (Resource, error) {
	bad := func() (Resource, error) {
		if len(path) > pathSizeMax {
			path = path[:pathSizeMax] + "…"
		}
		return Resource{}, fmt.Errorf("%w path %q: want tile/<level>/<index>[.p/<width>] or tile/entries/<index>[.p/<width>]", ErrFormat, path)
	}
	if len(path) > pathSizeMax {
		return bad()
	}
	r := Resource{Kind: KindEntries, Width: TileWidth}
	rest, isEntries := strings.CutPrefix(path, entriesPrefix)
	if !isEntries {
		r.Kind = KindTile
		var isTile bool
		if rest, isTile = strings.CutPrefix(path, tilePrefix); !isTile {
			return bad()
		}
		level, after, _ := strings.Cut(rest, "/")
		n, err := strconv.ParseUint(level, 10, 8)
		if err != nil || n > levelMax {
			return bad()
		}
		r.Level, rest = int(n), after
	}
	rest, width, isPartial := strings.Cut(rest, ".p/")
	if isPartial {
		n, err := strconv.ParseUint(width, 10, 8)
		if err != nil || n == 0 {
			return bad()
		}
		r.Width = int(n)
	}
	index, err := strconv.ParseUint(groupMarks.Replace(rest), 10, 64)
	if err != nil {
		return bad()
	}
	r.Index = index
	// Only one spelling of the values is the path.
	if r.path() != path {
		return bad()
	}
	return r, nil
}

func (r Resource) path() string {
	if r.Kind == KindEntries {
		return EntriesPath(r.Index, r.Width)
	}
	return TilePath(r.Level, r.Index, r.Width)
}
