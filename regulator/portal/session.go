package portal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"time"

	"countroom/ledger/entry"
)

// A session is a cookie that holds when it ends and a MAC over that, under a key
// that follows from the regulator's token. So nothing is kept, and whoever
// changes the token ends all sessions. The cookie does not hold the token, script
// cannot read it, and no other site can have it sent.
const (
	cookieName  = "countroom-regulator"
	sessionLast = 12 * time.Hour
	tokenMost   = 4096
)

type sessionKey struct {
	token [sha256.Size]byte // hash of the token
	mac   [sha256.Size]byte
	none  bool
}

func newSessionKey(token string) sessionKey {
	return sessionKey{token: sha256.Sum256([]byte(token)), mac: entry.Frame([]byte("countroom/portal-session/v1"), []byte(token)), none: token == ""}
}

func (k *sessionKey) sign(ends [8]byte) []byte {
	h := hmac.New(sha256.New, k.mac[:])
	h.Write(ends[:])
	return h.Sum(nil)
}

// cookie makes a session.
func (k *sessionKey) cookie(now time.Time, secure bool) *http.Cookie {
	var ends [8]byte
	binary.BigEndian.PutUint64(ends[:], uint64(now.Add(sessionLast).Unix()))
	return &http.Cookie{
		Name: cookieName, Value: base64.RawURLEncoding.EncodeToString(append(ends[:], k.sign(ends)...)), Path: "/regulator/",
		MaxAge: int(sessionLast / time.Second), HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode,
	}
}

// admits tells whether a request is of a session.
func (k *sessionKey) admits(r *http.Request, now time.Time) bool {
	if k.none {
		return false
	}
	for _, c := range r.CookiesNamed(cookieName) {
		b, err := base64.RawURLEncoding.Strict().DecodeString(c.Value)
		if err != nil || len(b) != 8+sha256.Size {
			continue
		}
		ends := [8]byte(b)
		if hmac.Equal(k.sign(ends), b[8:]) && now.Before(time.Unix(int64(binary.BigEndian.Uint64(ends[:])), 0)) {
			return true
		}
	}
	return false
}

// signIn takes the token of a form, and leads to the page that was asked for.
func (p *Portal) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, tokenMost)
	token := strings.TrimSpace(r.PostFormValue("token"))
	given := sha256.Sum256([]byte(token))
	if p.key.none || !hmac.Equal(given[:], p.key.token[:]) {
		p.show(w, r, http.StatusUnauthorized, &page{Title: "Sign in", Template: "sign-in", Data: "That is not the regulator's token of this house."})
		return
	}
	http.SetCookie(w, p.key.cookie(time.Now(), r.TLS != nil))
	http.Redirect(w, r, "/regulator/"+strings.TrimLeft(strings.TrimPrefix(r.URL.RequestURI(), "/regulator/"), "/"), http.StatusSeeOther)
}

// signOut ends a session in this browser.
func (p *Portal) signOut(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodPost {
		http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/regulator/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	}
	http.Redirect(w, r, "/regulator/", http.StatusSeeOther)
}
