package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"countroom/ledger/entry"
	"countroom/regulator/export"
	"countroom/regulator/export/archive"

	"github.com/labstack/echo/v4"
)

// createExport: POST /v1/exports. It makes no entry, so that its key is not remembered: the same request under the same
// checkpoint is the same export.
func (s *Server) createExport(c echo.Context) error {
	if err := s.exporter(c); err != nil {
		return err
	}
	cmd, err := s.command(c, nil, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	q := cmd.export()
	if err := cmd.end(); err != nil {
		return err
	}
	var st archive.Status
	if err := s.turns.take(func() (err error) {
		st, err = s.exports.Request(q)
		return err
	}); err != nil {
		if errors.Is(err, archive.ErrRequest) {
			return refusalOf(err).with(strings.TrimPrefix(err.Error(), archive.ErrRequest.Error()+": "))
		}
		return err
	}
	return showExport(c, http.StatusCreated, &st)
}

// exporter lets pass who may take entries home.
func (s *Server) exporter(c echo.Context) error {
	err := s.admit(c, regulator|auditor)
	if err == nil && s.exports == nil {
		err = notReady.with("this server makes no exports")
	}
	return err
}

// export reads what is asked for.
func (cmd *command) export() (q archive.Ask) {
	from, to := cmd.bound("from", &q.From), cmd.bound("to", &q.To)
	q.After, q.Before = from, to
	if cmd.has("player") {
		q.Filter.Player = cmd.text("player", func(s string) bool { return filters(export.Filter{Player: s}) }, "a reference of 32 lower-case hex digits, as entries have it")
	}
	for _, f := range []struct {
		name string
		into *string
	}{{"game", &q.Filter.Game}, {"type", &q.Filter.Type}} {
		if cmd.has(f.name) {
			*f.into = cmd.text(f.name, func(s string) bool { return filters(export.Filter{Game: s}) }, "1 to 64 printable ASCII characters without space, quotation mark and backslash")
		}
	}
	if cmd.has("checkpoint") {
		q.Checkpoint = []byte(cmd.text("checkpoint", func(s string) bool { return s != "" }, "a checkpoint of this house"))
	}
	return q
}

// filters reports whether a filter leaves something out, and is one.
func filters(f export.Filter) bool { return !f.None() && f.Check() == nil }

// has reports whether the body has a member.
func (cmd *command) has(name string) bool {
	_, ok := cmd.body.Get(name)
	return ok
}

// bound reads an end of a range: an index, or a time, which it returns.
func (cmd *command) bound(name string, index **uint64) string {
	if v, ok := cmd.body.Get(name); ok && v.Kind == entry.KindNumber {
		n := uint64(cmd.integer(name, 0, 1<<53-1))
		*index = &n
		return ""
	}
	return cmd.text(name, func(s string) bool {
		_, err := time.Parse(time.RFC3339, s)
		return err == nil
	}, "the index of an entry, or an RFC 3339 time")
}

// showExport writes how far an export is.
func showExport(c echo.Context, status int, st *archive.Status) error {
	type filter struct {
		Game   *string `json:"game"`
		Player *string `json:"player"`
		Type   *string `json:"type"`
	}
	given := func(s *string) *string {
		if *s == "" {
			return nil
		}
		return s
	}
	var size *int64
	if st.State == archive.Done {
		size = &st.Bytes
	}
	b, err := json.Marshal(struct {
		ID         string        `json:"id"`
		State      archive.State `json:"state"`
		Done       uint64        `json:"done"`
		Total      uint64        `json:"total"`
		Bytes      *int64        `json:"bytes"`
		Why        *string       `json:"why"`
		Range      export.Range  `json:"range"`
		Span       *export.Span  `json:"span"`
		Filter     filter        `json:"filter"`
		Checkpoint string        `json:"checkpoint"`
	}{
		st.ID, st.State, st.Done, st.Total, size, given(&st.Why), st.Range, st.Span,
		filter{given(&st.Filter.Game), given(&st.Filter.Player), given(&st.Filter.Type)}, string(st.Checkpoint),
	})
	if err != nil {
		return err
	}
	write(c, status, jsonType, b)
	return nil
}

// getExport: GET /v1/exports/{id}.
func (s *Server) getExport(c echo.Context) error {
	if err := s.exporter(c); err != nil {
		return err
	}
	st, err := s.exports.Status(c.Param("id"))
	if err != nil {
		return err
	}
	return showExport(c, http.StatusOK, &st)
}

// getExportFile: GET /v1/exports/{id}/file. It can be gone on with where it broke off (RFC 9110, 14).
func (s *Server) getExportFile(c echo.Context) error {
	if err := s.exporter(c); err != nil {
		return err
	}
	f, err := s.exports.Open(c.Param("id"))
	if err != nil {
		return err
	}
	defer f.Close()
	h := c.Response().Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="export-%s.zip"`, c.Param("id")))
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", `"`+c.Param("id")+`"`)
	w := &steady{ResponseWriter: c.Response(), control: http.NewResponseController(c.Response().Writer)}
	http.ServeContent(w, c.Request(), "", time.Time{}, f)
	if w.beyond {
		return noSuchPart.with("")
	}
	return nil
}

// steady gives each piece of a long answer the time that a whole short one has, and keeps back that a part is beyond the
// file, which is told as a problem.
type steady struct {
	http.ResponseWriter
	control *http.ResponseController
	beyond  bool
}

func (s *steady) WriteHeader(status int) {
	if s.beyond = status == http.StatusRequestedRangeNotSatisfiable; !s.beyond {
		s.ResponseWriter.WriteHeader(status)
	}
}

const pieceTime = 30 * time.Second

func (s *steady) Write(p []byte) (int, error) {
	if s.beyond {
		return len(p), nil
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(pieceTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return s.ResponseWriter.Write(p)
}

// getSpanCertificate: GET /v1/exports/{id}/certificate.
func (s *Server) getSpanCertificate(c echo.Context) error {
	if err := s.exporter(c); err != nil {
		return err
	}
	f, err := s.exports.Open(c.Param("id"))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	bundle, err := export.CertificateOf(f, info.Size())
	if errors.Is(err, export.ErrContainer) {
		return notFound.with("only an export of a span of time, without a filter, has a certificate")
	}
	if err != nil {
		return err
	}
	write(c, 200, jsonType, bundle)
	return nil
}
