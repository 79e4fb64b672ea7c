package tpm

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Scheme begins each URI.
const Scheme = "tpm:"

// URI names a key that a TPM keeps:
//
//	tpm:device=/dev/tpmrm0;handle=0x81010001
//	tpm:socket=/path;handle=0x81010001?pin-source=/path
type URI struct {
	Device, Socket string // one is set: a character device or a unix socket
	Handle         uint32 // of a persistent object
	PINSource      string // path of a file with the key's authorisation value; empty: it has none
}

// The range of persistent handles that are the owner's.
const (
	handleFirst = 0x81000000
	handleLast  = 0x817fffff
)

// ParseURI reads a URI, strictly.
func ParseURI(s string) (u URI, err error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return URI{}, fmt.Errorf("tpm URI: expected such as tpm:device=/dev/tpmrm0;handle=0x81010001")
	}
	path, query, asked := strings.Cut(rest, "?")
	for pair := range strings.SplitSeq(path, ";") {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case name == "device" && u.Device == "" && filepath.IsAbs(value):
			u.Device = value
		case name == "socket" && u.Socket == "" && filepath.IsAbs(value):
			u.Socket = value
		case name == "handle" && u.Handle == 0:
			n, err := strconv.ParseUint(value, 0, 32)
			if err != nil || n < handleFirst || n > handleLast {
				return URI{}, fmt.Errorf("tpm URI: handle %q: expected %#x to %#x, the owner's persistent handles", value, handleFirst, handleLast)
			}
			u.Handle = uint32(n)
		default:
			return URI{}, fmt.Errorf("tpm URI: %q: expected device=PATH or socket=PATH, with the full path, and handle=NUMBER, each once", pair)
		}
	}
	if (u.Device == "") == (u.Socket == "") {
		return URI{}, errors.New("tpm URI: expected one of device and socket")
	}
	if u.Handle == 0 {
		return URI{}, errors.New("tpm URI: expected handle, such as handle=0x81010001")
	}
	if asked {
		name, value, _ := strings.Cut(query, "=")
		if name != "pin-source" || value == "" || strings.Contains(value, "&") {
			return URI{}, fmt.Errorf("tpm URI: %q: expected pin-source and the path of a file", query)
		}
		u.PINSource = value
	}
	return u, nil
}

// String writes the URI; ParseURI reads it back.
func (u URI) String() string {
	s := Scheme + "device=" + u.Device
	if u.Socket != "" {
		s = Scheme + "socket=" + u.Socket
	}
	if u.Handle != 0 { // the generator has none
		s += fmt.Sprintf(";handle=%#08x", u.Handle)
	}
	if u.PINSource != "" {
		s += "?pin-source=" + u.PINSource
	}
	return s
}
