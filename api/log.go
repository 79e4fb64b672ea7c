package api

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"countroom/ledger"
	"countroom/ledger/tlog"

	"github.com/labstack/echo/v4"
)

// logCheckpoint: GET /log/checkpoint.
func (s *Server) logCheckpoint(c echo.Context) error {
	return showCheckpoint(c, s.house.Ledger().Signed())
}

// logCosigned: GET /log/cosigned.
func (s *Server) logCosigned(c echo.Context) error {
	return showCheckpoint(c, s.house.Ledger().Cosigned())
}

func showCheckpoint(c echo.Context, signed *ledger.Signed) error {
	if signed == nil {
		return ledger.ErrNotFound
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Access-Control-Allow-Origin", "*")
	write(c, 200, textType, signed.Checkpoint)
	return nil
}

// logVKey: GET /log/vkey.
func (s *Server) logVKey(c echo.Context) error {
	write(c, 200, textType, []byte(s.house.Ledger().VKey()+"\n"))
	return nil
}

// logTile: GET /log/tile/{tile}.
func (s *Server) logTile(c echo.Context) error {
	r, err := resource(c)
	if err != nil || r.Kind != tlog.KindTile {
		return ledger.ErrNotFound
	}
	b, err := s.house.Ledger().Tile(r.Level, r.Index, r.Width)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Access-Control-Allow-Origin", "*")
	write(c, 200, octetType, b)
	return nil
}

// logEntries: GET /log/tile/entries/{bundle}.
func (s *Server) logEntries(c echo.Context) error {
	if err := s.admit(c, regulator|auditor); err != nil {
		return err
	}
	r, err := resource(c)
	signed := s.house.Ledger().Signed()
	if err != nil || r.Kind != tlog.KindEntries || signed == nil || r.Index > signed.Size/tlog.TileWidth {
		return ledger.ErrNotFound
	}
	from := r.Index * tlog.TileWidth
	zip := acceptsGzip(c.Request())
	var bundle []byte
	if err := s.turns.take(func() error {
		err := s.house.Ledger().Leaves(from, from+uint64(r.Width), func(_ uint64, leaf []byte) error {
			bundle = tlog.AppendBundle(bundle, leaf)
			return nil
		})
		if err == nil && zip {
			bundle = compressed(bundle)
		}
		return err
	}); err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	if zip {
		h.Set("Content-Encoding", "gzip")
	}
	write(c, 200, octetType, bundle)
	return nil
}

// logBlob: GET /log/blob/{sha256}, what an entry names by its digest.
func (s *Server) logBlob(c echo.Context) error {
	if err := s.admit(c, regulator|auditor); err != nil {
		return err
	}
	name := c.Param("sha256")
	digest, err := hex.DecodeString(name)
	if err != nil || len(digest) != 32 || hex.EncodeToString(digest) != name {
		return ledger.ErrNotFound
	}
	var blob []byte
	if err := s.turns.take(func() (err error) {
		blob, err = s.house.Blob(c.Request().Context(), [32]byte(digest))
		return err
	}); err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	write(c, 200, octetType, blob)
	return nil
}

func resource(c echo.Context) (tlog.Resource, error) {
	return tlog.ParsePath(strings.TrimPrefix(c.Request().URL.EscapedPath(), "/log/"))
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(b)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		panic(err) // a Buffer takes everything
	}
	return out.Bytes()
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3).
func acceptsGzip(r *http.Request) bool {
	for _, v := range r.Header["Accept-Encoding"] {
		for _, e := range strings.Split(v, ",") {
			coding, params, err := mime.ParseMediaType(strings.TrimSpace(e))
			if err != nil || coding != "gzip" {
				continue
			}
			q, given := params["q"]
			if f, err := strconv.ParseFloat(q, 64); !given || err == nil && f > 0 {
				return true
			}
		}
	}
	return false
}
