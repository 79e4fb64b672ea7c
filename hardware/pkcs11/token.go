//go:build cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"countroom/hardware/pinfile"

	p11 "github.com/miekg/pkcs11"
)

const (
	// sessionsMost is how many calls a token works on at once.
	sessionsMost = 8
	// restPause is how long a module is left alone after it was initialised: what
	// is missing then is not there, and other tokens of the module lose their
	// sessions each time.
	restPause = 250 * time.Millisecond
)

// module is a loaded PKCS #11 module. There is one for each path, for a process
// initialises a module once.
type module struct {
	path string
	ctx  *p11.Ctx // set once; a module is never unloaded

	// mu is held for reading by each call, and for writing while the module is
	// initialised or finalised.
	mu          sync.RWMutex
	tokens      map[URI]*Token
	generation  uint64 // counts initialisations: sessions and handles are of one
	initialised time.Time
	failed      error // of the last initialisation
}

var modules struct {
	sync.Mutex
	byPath map[string]*module
	// refused are the tokens that refused a PIN to this process.
	refused map[string]bool
}

// Token is a token that was there when it was opened. It is safe for concurrent
// use.
type Token struct {
	m    *module
	uri  URI
	busy chan struct{} // a place for each session

	mu    sync.Mutex
	users int
	pin   string // path of its file

	generation uint64 // of what follows
	slot       uint
	serial     string
	// first stays open: with the last session of a process its log-in would end.
	first    p11.SessionHandle
	loggedIn bool
	idle     []p11.SessionHandle
}

// Open finds the token that the URI names; its object may be empty. Two calls
// for one token share it. Close it after use.
func Open(ctx context.Context, uri URI) (*Token, error) {
	if uri.ModulePath == "" {
		return nil, fmt.Errorf("%w: %s: expected module-path, the shared library of the device's maker", ErrModule, uri)
	}
	if uri.Token == "" && uri.Serial == "" && uri.SlotID == "" {
		return nil, fmt.Errorf("%w: %s: expected token, serial or slot-id", ErrNoToken, uri)
	}
	m, err := load(uri.ModulePath)
	if err != nil {
		return nil, err
	}
	t := m.token(uri)
	if err := t.do(ctx, false, func(*p11.Ctx, p11.SessionHandle, uint64) error { return nil }); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func load(path string) (*module, error) {
	modules.Lock()
	defer modules.Unlock()
	key := path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		key = real
	}
	if m := modules.byPath[key]; m != nil {
		return m, nil
	}
	c := p11.New(path)
	if c == nil {
		return nil, fmt.Errorf("%w: %s: expected a shared library with C_GetFunctionList for this kind of machine; is the device's software installed?", ErrModule, path)
	}
	m := &module{path: path, ctx: c, tokens: map[URI]*Token{}}
	if modules.byPath == nil {
		modules.byPath, modules.refused = map[string]*module{}, map[string]bool{}
	}
	modules.byPath[key] = m
	return m, nil
}

func (m *module) token(uri URI) *Token {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tokens[uri.ofToken()]
	if t == nil {
		t = &Token{m: m, uri: uri.ofToken(), busy: make(chan struct{}, sessionsMost)}
		m.tokens[t.uri] = t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users++
	if uri.PINSource != "" {
		t.pin = uri.PINSource
	}
	return t
}

// Close gives the token back. The last to do so ends its sessions, and the last
// for a module finalises that.
func (t *Token) Close() error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users > 0 {
		return nil
	}
	delete(t.m.tokens, t.uri)
	if t.m.generation == 0 || t.m.failed != nil {
		return nil
	}
	if len(t.m.tokens) > 0 {
		if t.generation == t.m.generation {
			for _, s := range append(t.idle, t.first) {
				t.m.ctx.CloseSession(s)
			}
		}
		return nil
	}
	t.m.failed = errFinalised
	t.m.initialised = time.Time{}
	if err := t.m.ctx.Finalize(); err != nil {
		return fmt.Errorf("pkcs11: %s: C_Finalize: %w", t.m.path, err)
	}
	return nil
}

var errFinalised = errors.New("not initialised")

// initialise starts the module anew, so that it looks for its tokens, unless
// somebody did so since the generation that failed, or the token was closed.
func (m *module) initialise(t *Token, failed uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens[t.uri] != t || m.generation != failed || time.Since(m.initialised) < restPause {
		return nil
	}
	m.ctx.Finalize() // of a module that is in no state to answer: what follows tells
	m.generation++
	m.initialised = time.Now()
	if m.failed = m.ctx.Initialize(); m.failed == p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		m.failed = nil // by another part of this process
	}
	if m.failed != nil {
		return fmt.Errorf("%w: %s: C_Initialize: %w", ErrModule, m.path, m.failed)
	}
	return nil
}

type work func(c *p11.Ctx, s p11.SessionHandle, generation uint64) error

// do runs f with a session, and once more with a new one if the token seems to
// have gone and come back. A device that does not answer keeps its place, and
// the caller waits no longer than its context.
func (t *Token) do(ctx context.Context, login bool, f work) error {
	select {
	case t.busy <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("pkcs11: %s: waiting for a session: %w", t.uri, context.Cause(ctx))
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-t.busy }()
		done <- t.again(login, f)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("pkcs11: %s: waiting for the device: %w", t.uri, context.Cause(ctx))
	}
}

func (t *Token) again(login bool, f work) error {
	generation, err := t.once(login, f)
	if !gone(err) {
		return err
	}
	if err := t.m.initialise(t, generation); err != nil {
		return err
	}
	_, err = t.once(login, f)
	return err
}

func (t *Token) once(login bool, f work) (uint64, error) {
	t.m.mu.RLock()
	defer t.m.mu.RUnlock()
	generation := t.m.generation
	if t.m.tokens[t.uri] != t { // nobody may start a module that was closed
		return generation, fmt.Errorf("pkcs11: %s: closed", t.uri)
	}
	if generation == 0 || t.m.failed != nil {
		return generation, fmt.Errorf("%w: %s: %w: %v", ErrModule, t.m.path, p11.Error(p11.CKR_CRYPTOKI_NOT_INITIALIZED), t.m.failed)
	}
	s, err := t.session(login)
	if err != nil {
		return generation, err
	}
	if err := f(t.m.ctx, s, generation); err != nil {
		t.m.ctx.CloseSession(s) // whatever state it is in
		return generation, err
	}
	t.mu.Lock()
	t.idle = append(t.idle, s)
	t.mu.Unlock()
	return generation, nil
}

// gone is whether an error may come of a token that was pulled out, lost its
// sessions or was restarted. SoftHSM answers as to an unknown object.
func gone(err error) bool {
	if errors.Is(err, ErrNoToken) {
		return true
	}
	var code p11.Error
	return errors.As(err, &code) && slices.Contains([]p11.Error{
		p11.CKR_OBJECT_HANDLE_INVALID, p11.CKR_KEY_HANDLE_INVALID,
		p11.CKR_DEVICE_ERROR, p11.CKR_DEVICE_REMOVED, p11.CKR_TOKEN_NOT_PRESENT, p11.CKR_TOKEN_NOT_RECOGNIZED, p11.CKR_SLOT_ID_INVALID,
		p11.CKR_SESSION_CLOSED, p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_USER_NOT_LOGGED_IN,
		p11.CKR_CRYPTOKI_NOT_INITIALIZED, p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED,
	}, code)
}

// session takes an idle session or opens one. The module is held for reading.
func (t *Token) session(login bool) (p11.SessionHandle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.m.ctx
	if t.generation != t.m.generation {
		slot, info, err := t.find(c)
		if err != nil {
			return 0, err
		}
		first, err := c.OpenSession(slot, p11.CKF_SERIAL_SESSION)
		if err != nil {
			return 0, fmt.Errorf("pkcs11: %s: C_OpenSession: %w", t.uri, err)
		}
		t.generation, t.slot, t.serial, t.first = t.m.generation, slot, info.SerialNumber, first
		t.loggedIn, t.idle = false, nil
	}
	if login && !t.loggedIn {
		if err := t.login(c); err != nil {
			return 0, err
		}
		t.loggedIn = true
	}
	if n := len(t.idle); n > 0 {
		s := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return s, nil
	}
	s, err := c.OpenSession(t.slot, p11.CKF_SERIAL_SESSION)
	if err != nil {
		return 0, fmt.Errorf("pkcs11: %s: C_OpenSession: %w", t.uri, err)
	}
	return s, nil
}

// find looks for the one slot whose token the URI names.
func (t *Token) find(c *p11.Ctx) (slot uint, info p11.TokenInfo, err error) {
	slots, err := c.GetSlotList(true)
	if err != nil {
		return 0, info, fmt.Errorf("%w: %s: C_GetSlotList: %w", ErrNoToken, t.uri, err)
	}
	var found []p11.TokenInfo
	var labels []string
	for _, s := range slots {
		i, err := c.GetTokenInfo(s)
		if err != nil {
			continue // a token may leave while it is asked
		}
		if i.Flags&p11.CKF_TOKEN_INITIALIZED != 0 {
			labels = append(labels, strconv.Quote(i.Label))
		}
		u := t.uri
		if (u.Token == "" || u.Token == i.Label) && (u.Serial == "" || u.Serial == i.SerialNumber) &&
			(u.Manufacturer == "" || u.Manufacturer == i.ManufacturerID) && (u.Model == "" || u.Model == i.Model) &&
			(u.SlotID == "" || u.SlotID == strconv.FormatUint(uint64(s), 10)) {
			slot, found = s, append(found, i)
		}
	}
	switch {
	case len(found) > 1:
		return 0, info, fmt.Errorf("%w: %s: %d tokens match, expected one: add serial=%s", ErrNoToken, t.uri, len(found), found[0].SerialNumber)
	case len(found) == 0 && len(labels) == 0:
		return 0, info, fmt.Errorf("%w: %s: the module shows no token at all: is the device connected, and may this user reach it?", ErrNoToken, t.uri)
	case len(found) == 0:
		return 0, info, fmt.Errorf("%w: %s: the module shows the tokens %s", ErrNoToken, t.uri, strings.Join(labels, ", "))
	}
	return slot, found[0], nil
}

// login logs this process in, for all its sessions. It never risks the last
// tries of a PIN.
func (t *Token) login(c *p11.Ctx) error {
	if t.pin == "" {
		return fmt.Errorf("%w: %s: expected pin-source, the path of a file with the PIN", ErrPIN, t.uri)
	}
	info, err := c.GetTokenInfo(t.slot)
	if err != nil {
		return fmt.Errorf("pkcs11: %s: C_GetTokenInfo: %w", t.uri, err)
	}
	const advice = "log in once with the device's own tool or pkcs11-tool --login, which resets the count, and start again"
	switch {
	case info.Flags&p11.CKF_USER_PIN_LOCKED != 0:
		return fmt.Errorf("%w: %s: the PIN is locked: its security officer has to set it anew", ErrPIN, t.uri)
	case info.Flags&p11.CKF_USER_PIN_INITIALIZED == 0:
		return fmt.Errorf("%w: %s: the token has no user PIN yet: its security officer has to set one", ErrPIN, t.uri)
	case info.Flags&p11.CKF_USER_PIN_FINAL_TRY != 0:
		return fmt.Errorf("%w: %s: one more wrong PIN would lock the token, so none is tried: %s", ErrPIN, t.uri, advice)
	case info.Flags&p11.CKF_USER_PIN_COUNT_LOW != 0:
		return fmt.Errorf("%w: %s: a wrong PIN was tried since the last log-in, so none is tried: correct %s, %s", ErrPIN, t.uri, t.pin, advice)
	}
	modules.Lock()
	defer modules.Unlock()
	key := t.m.path + "\x00" + t.uri.Token + "\x00" + t.serial
	if modules.refused[key] {
		return fmt.Errorf("%w: %s: this process had a PIN refused and tries no other: correct %s and start again", ErrPIN, t.uri, t.pin)
	}
	pin, err := pinfile.Read(t.pin)
	if err != nil {
		return fmt.Errorf("%w: %s: pin-source: %w", ErrPIN, t.uri, err)
	}
	switch err := c.Login(t.first, p11.CKU_USER, pin); err {
	case nil, p11.Error(p11.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case p11.Error(p11.CKR_PIN_INCORRECT), p11.Error(p11.CKR_PIN_INVALID), p11.Error(p11.CKR_PIN_LEN_RANGE), p11.Error(p11.CKR_PIN_EXPIRED), p11.Error(p11.CKR_PIN_LOCKED):
		modules.refused[key] = true
		return fmt.Errorf("%w: %s: the token refused the PIN in %s, and it is not tried again: correct the file, %s: %w", ErrPIN, t.uri, t.pin, advice, err)
	default:
		return fmt.Errorf("pkcs11: %s: C_Login: %w", t.uri, err)
	}
}

// Info asks the token what it is.
func (t *Token) Info(ctx context.Context) (info Info, err error) {
	err = t.do(ctx, false, func(c *p11.Ctx, s p11.SessionHandle, _ uint64) error {
		state, err := c.GetSessionInfo(s)
		if err != nil {
			return fmt.Errorf("pkcs11: %s: C_GetSessionInfo: %w", t.uri, err)
		}
		i, err := c.GetTokenInfo(state.SlotID)
		if err != nil {
			return fmt.Errorf("pkcs11: %s: C_GetTokenInfo: %w", t.uri, err)
		}
		info = Info{
			Label: i.Label, Manufacturer: i.ManufacturerID, Model: i.Model, Serial: i.SerialNumber,
			Firmware: fmt.Sprintf("%d.%d", i.FirmwareVersion.Major, i.FirmwareVersion.Minor),
		}
		return nil
	})
	return info, err
}

// Random fills p with the token's random numbers. It needs no log-in.
func (t *Token) Random(ctx context.Context, p []byte) error {
	var b []byte
	size := len(p)
	err := t.do(ctx, false, func(c *p11.Ctx, s p11.SessionHandle, _ uint64) (err error) {
		if b, err = c.GenerateRandom(s, size); err != nil {
			return fmt.Errorf("pkcs11: %s: C_GenerateRandom: %w", t.uri, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(b) != size {
		return fmt.Errorf("pkcs11: %s: C_GenerateRandom gave %d bytes, expected %d", t.uri, len(b), size)
	}
	copy(p, b)
	clear(b)
	return nil
}
