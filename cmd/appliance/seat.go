package appliance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"countroom/ledger/replica"
)

// Seat is a machine's place in its pair, as DIR/pair keeps it:
//
//	seat.json         name, address and the members when it was taken
//	node.pem, .key    the certificate by which the others know this member, and its key
//	authority.pem     signs the members' certificates; its key is with the machines
//	authority.key
type Seat struct {
	Origin  string           `json:"origin"`
	Name    string           `json:"name"`
	Address string           `json:"address"` // host:port of its door to the consensus; the next port is the door for requests
	Arbiter bool             `json:"arbiter,omitempty"`
	Join    bool             `json:"join,omitempty"`
	Members []replica.Member `json:"members"`

	tls *tls.Config
}

func (s *Seat) member() replica.Member {
	return replica.Member{Name: s.Name, Address: s.Address, Arbiter: s.Arbiter}
}

// Config is how the seat's node of the consensus is opened.
func (s *Seat) Config(dir string) replica.Config {
	return replica.Config{
		Origin: s.Origin, Name: s.Name, Members: s.Members, Join: s.Join, Dir: filepath.Join(dir, "pair", "consensus"), TLS: s.tls,
	}
}

// doorAddress is where a member takes requests that the other machine relays.
func doorAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	n, err2 := strconv.Atoi(port)
	if err != nil || err2 != nil {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

func checkMember(m replica.Member) error {
	host, port, err := net.SplitHostPort(m.Address)
	if n, err2 := strconv.Atoi(port); err != nil || err2 != nil || host == "" || n < 1 || n > 65534 {
		return fmt.Errorf("address %q: expected host:port as the other members reach it; the next port is used too", m.Address)
	}
	return m.Check()
}

// LoadSeat reads the place of a data directory in a pair; fs.ErrNotExist says
// that it has none.
func LoadSeat(dir string) (*Seat, error) {
	dir = filepath.Join(dir, "pair")
	b, err := os.ReadFile(filepath.Join(dir, "seat.json"))
	if err != nil {
		return nil, err
	}
	s := new(Seat)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "seat.json"), err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key"))
	if err != nil {
		return nil, fmt.Errorf("the certificate of this member: %w", err)
	}
	authority, err := os.ReadFile(filepath.Join(dir, "authority.pem"))
	if err != nil {
		return nil, err
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: x509.NewCertPool()}
	if !s.tls.RootCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s: expected a certificate", filepath.Join(dir, "authority.pem"))
	}
	return s, nil
}

// InitPair makes the house in a directory, or the one that will be founded
// there, the first machine of a pair.
func InitPair(dir, origin, name, address string) error {
	if err := checkMember(replica.Member{Name: name, Address: address}); err != nil {
		return err
	}
	if err := makePairDir(dir); err != nil {
		return err
	}
	origin, err := openOrigin(disk{}, dir, origin, false)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate(origin)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := writeKey(filepath.Join(dir, "pair", "authority.key"), key); err != nil {
		return err
	}
	node, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, "pair", "node.key"), node); err != nil {
		return err
	}
	cert, err := issue(filepath.Join(dir, "pair"), authority, name, node.Public())
	if err != nil {
		return err
	}
	s := &Seat{Origin: origin, Name: name, Address: address}
	s.Members = []replica.Member{s.member()}
	return s.take(dir, cert, authority)
}

// makePairDir makes the directory of a seat that is not taken yet.
func makePairDir(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "pair", "seat.json")); err == nil {
		return fmt.Errorf("%s is in a pair already: a machine that joins anew does so under a new name with an empty directory", dir)
	}
	if err := (disk{}).MkdirAll(dir); err != nil {
		return err
	}
	return disk{}.MkdirAll(filepath.Join(dir, "pair"))
}

// take writes the seat down, last what says that it is taken.
func (s *Seat) take(dir string, cert, authority []byte) error {
	dir = filepath.Join(dir, "pair")
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{"node.pem", cert}, {"authority.pem", authority}, {"seat.json", append(text, '\n')}} {
		if err := (disk{}).WriteFile(filepath.Join(dir, f.name), f.text); err != nil {
			return err
		}
	}
	return nil
}

func certificate(subject string) *x509.Certificate {
	var serial [16]byte
	rand.Read(serial[:])
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]), Subject: pkix.Name{CommonName: subject},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(30, 0, 0), // a pair is not to stop because a date has come
	}
}

// issue signs the certificate of a member.
func issue(dir string, authority []byte, name string, public any) ([]byte, error) {
	pair, err := tls.X509KeyPair(authority, read(filepath.Join(dir, "authority.key")))
	if err != nil {
		return nil, fmt.Errorf("the pair's authority: %w", err)
	}
	template := certificate(name)
	template.DNSNames = []string{name}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, pair.Leaf, public, pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// read returns a file's content, nothing of one that cannot be read.
func read(path string) []byte {
	b, _ := disk{}.ReadPrivate(path)
	return b
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return disk{}.CreatePrivate(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// How keys travel to a machine that joins: sealed to a key that it made for that.
var (
	joinKEM  = hpke.MLKEM768X25519()
	joinKDF  = hpke.HKDFSHA256()
	joinAEAD = hpke.AES256GCM()
)

func joinInfo(origin, name string) []byte {
	return []byte("countroom/pair-join/v1\n" + origin + "\n" + name)
}

// JoinRequest is what a machine or an arbiter asks to join with. There is
// nothing secret in it; how it comes to the pair says who may ask.
type JoinRequest struct {
	Member  replica.Member `json:"member"`
	Request []byte         `json:"request"` // PKCS #10
	Seal    []byte         `json:"seal,omitempty"`
}

// Admission is the answer.
type Admission struct {
	Origin      string           `json:"origin"`
	Members     []replica.Member `json:"members"`
	Certificate []byte           `json:"certificate"` // PEM
	Authority   []byte           `json:"authority"`   // PEM
	// Sealed are the house's key files, sealed to the machine that asked.
	Sealed []byte `json:"sealed,omitempty"`
}

// Joiner is a member that asks to join.
type Joiner struct {
	dir     string
	request JoinRequest
	seal    hpke.PrivateKey
}

// NewJoiner prepares an empty directory.
func NewJoiner(dir string, m replica.Member) (*Joiner, error) {
	if err := checkMember(m); err != nil {
		return nil, err
	}
	if list, err := os.ReadDir(dir); err == nil && len(list) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s: expected a directory that is empty or not there: a machine joins with nothing of its own", dir), err)
	}
	if err := makePairDir(dir); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := writeKey(filepath.Join(dir, "pair", "node.key"), key); err != nil {
		return nil, err
	}
	j := &Joiner{dir: dir, request: JoinRequest{Member: m}}
	if j.request.Request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{m.Name}}, key); err != nil {
		return nil, err
	}
	if !m.Arbiter {
		if j.seal, err = joinKEM.GenerateKey(); err != nil {
			return nil, err
		}
		j.request.Seal = j.seal.PublicKey().Bytes()
	}
	return j, nil
}

// Request is what is sent to the pair.
func (j *Joiner) Request() ([]byte, error) { return json.Marshal(j.request) }

// Accept takes the seat that the pair gave.
func (j *Joiner) Accept(admission []byte) error {
	var a Admission
	if err := json.Unmarshal(admission, &a); err != nil {
		return fmt.Errorf("the pair's answer: %w", err)
	}
	m := j.request.Member
	if !m.Arbiter {
		plain, err := hpke.Open(j.seal, joinKDF, joinAEAD, joinInfo(a.Origin, m.Name), a.Sealed)
		if err != nil {
			return fmt.Errorf("the pair's keys: %w", err)
		}
		var files map[string][]byte
		if err := json.Unmarshal(plain, &files); err != nil {
			return fmt.Errorf("the pair's keys: %w", err)
		}
		for name, content := range files {
			if !filepath.IsLocal(name) {
				return fmt.Errorf("the pair's keys: %q: expected a name within the directory", name)
			}
			path := filepath.Join(j.dir, name)
			if name == ringName {
				if content, err = ringAt(j.dir, content); err != nil {
					return fmt.Errorf("the pair's keys: %s: %w", name, err)
				}
			}
			err := disk{}.MkdirAll(filepath.Dir(path))
			if err == nil {
				err = disk{}.CreatePrivate(path, content)
			}
			if err != nil {
				return err
			}
		}
		if _, err := openOrigin(disk{}, j.dir, a.Origin, false); err != nil {
			return err
		}
	}
	s := &Seat{Origin: a.Origin, Name: m.Name, Address: m.Address, Arbiter: m.Arbiter, Join: true, Members: append(a.Members, m)}
	return s.take(j.dir, a.Certificate, a.Authority)
}

// admit answers a request to join: a certificate, and for a machine the house's
// key files, sealed to it.
func admit(dir string, members []replica.Member, origin string, request []byte) (JoinRequest, []byte, error) {
	var r JoinRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return r, nil, fmt.Errorf("the request to join: %w", err)
	}
	if err := checkMember(r.Member); err != nil {
		return r, nil, err
	}
	for _, m := range members {
		if m.Name == r.Member.Name {
			return r, nil, fmt.Errorf("a member is called %q already: names are not used twice", m.Name)
		}
	}
	csr, err := x509.ParseCertificateRequest(r.Request)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return r, nil, fmt.Errorf("the request to join: %w", err)
	}
	a := Admission{Origin: origin, Members: members}
	if a.Authority, err = os.ReadFile(filepath.Join(dir, "pair", "authority.pem")); err != nil {
		return r, nil, err
	}
	if a.Certificate, err = issue(filepath.Join(dir, "pair"), a.Authority, r.Member.Name, csr.PublicKey); err != nil {
		return r, nil, err
	}
	if !r.Member.Arbiter {
		if a.Sealed, err = sealKeys(dir, origin, &r); err != nil {
			return r, nil, err
		}
	}
	answer, err := json.Marshal(a)
	return r, answer, err
}

// sealKeys seals what a machine needs to be this house: keys in files, bearer
// tokens and the pair's authority. Keys in a device stay there, and the other
// machine's configuration names that device.
func sealKeys(dir, origin string, r *JoinRequest) ([]byte, error) {
	public, err := joinKEM.NewPublicKey(r.Seal)
	if err != nil {
		return nil, fmt.Errorf("the key to seal to: %w", err)
	}
	files := map[string][]byte{}
	for _, pattern := range []string{"keys/*", "credentials/*", "pair/authority.key"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if strings.HasPrefix(filepath.Base(path), ".") {
				continue
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return nil, err
			}
			read := disk{}.ReadPrivate
			if name == ringName { // nothing in it is secret
				read = disk{}.ReadFile
			}
			if files[name], err = read(path); err != nil {
				return nil, err
			}
		}
	}
	if err := packRing(dir, files); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(public, joinKDF, joinAEAD, joinInfo(origin, r.Member.Name), plain)
}
