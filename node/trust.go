package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"homing/kkc"

	"golang.org/x/sys/unix"
)

// A Home is one that a node admits.
type Home struct {
	Name        string    `json:"name"` // what it called itself
	Fingerprint string    `json:"key"`
	Since       time.Time `json:"since"`
}

// A Pending is a join token that was not used yet; its secret is not kept.
type Pending struct {
	ID      string    `json:"id"` // names the token to people
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// DefaultExpiry is how long a join token is good for.
const DefaultExpiry = 24 * time.Hour

const tokenIDLen = 8

// A trustStore is a node's memory of homes and tokens.
type trustStore struct {
	dir string
	now func() time.Time
}

func newTrustStore(dir string) trustStore { return trustStore{dir: dir, now: time.Now} }

func (s trustStore) homePath(fingerprint string) string {
	return filepath.Join(s.dir, homesDir, fingerprint+".json")
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func (s trustStore) tokenPath(hash string) string {
	return filepath.Join(s.dir, tokensDir, hash+".json")
}

// issue makes a join token's secret and remembers its hash.
func (s trustStore) issue(validFor time.Duration) (secret string, p Pending, err error) {
	if validFor <= 0 {
		return "", p, fmt.Errorf("a token that is valid for %v is of no use: give --expires a time above zero", validFor)
	}
	s.dropExpired()
	secret = kkc.NewSecret()
	hash := hashSecret(secret)
	now := s.now().UTC().Truncate(time.Second)
	p = Pending{ID: hash[:tokenIDLen], Created: now, Expires: now.Add(validFor)}
	return secret, p, writeJSON(s.tokenPath(hash), p)
}

// errBadToken is told to the peer; it does not say which of the reasons holds.
var errBadToken = errors.New("this join token is not valid here: it was used already, has expired or was revoked; ask the node's owner for a new one (homing node token)")

// errUnknownHome is told to a peer that shows neither a known key nor a token.
var errUnknownHome = errors.New("this node does not know you: it was never joined, or your access was revoked; ask the node's owner for a token (homing node token) and run: homing join TOKEN")

// admit decides whether the holder of a key may use this node. A valid secret
// makes the key known. A home that is known already keeps its token: joining
// twice, when the first answer was lost, does no harm.
func (s trustStore) admit(peer kkc.Peer, h kkc.Hello) error {
	switch err := s.known(peer.Fingerprint); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("this node cannot read its list of homes: %w", err)
	case h.Secret == "":
		return errUnknownHome
	}
	if err := s.redeem(h.Secret); err != nil {
		return err
	}
	return s.addHome(Home{Name: cleanName(h.Name), Fingerprint: peer.Fingerprint, Since: s.now().UTC().Truncate(time.Second)})
}

func (s trustStore) known(fingerprint string) error {
	var home Home
	return readJSON(s.homePath(fingerprint), &home)
}

// redeem uses a token up. Of several that try at once one succeeds in removing
// its file.
func (s trustStore) redeem(secret string) error {
	path := s.tokenPath(hashSecret(secret))
	var p Pending
	if err := readJSON(path, &p); err != nil {
		return errBadToken
	}
	if err := os.Remove(path); err != nil {
		return errBadToken
	}
	if !s.now().Before(p.Expires) {
		return errBadToken
	}
	return nil
}

func (s trustStore) addHome(h Home) error { return writeJSON(s.homePath(h.Fingerprint), h) }

func (s trustStore) homes() (hs []Home, err error) {
	err = readAll(filepath.Join(s.dir, homesDir), func(_ string, h Home) { hs = append(hs, h) })
	return hs, err
}

func (s trustStore) tokens() (ps []Pending, err error) {
	s.dropExpired()
	err = readAll(filepath.Join(s.dir, tokensDir), func(_ string, p Pending) { ps = append(ps, p) })
	return ps, err
}

func (s trustStore) dropExpired() {
	_ = readAll(filepath.Join(s.dir, tokensDir), func(path string, p Pending) {
		if !s.now().Before(p.Expires) {
			_ = os.Remove(path)
		}
	})
}

// revoke removes what who names: homes by name or by the beginning of the key,
// tokens by their id or as a whole.
func (s trustStore) revoke(who string) (gone []string, err error) {
	err = readAll(filepath.Join(s.dir, homesDir), func(path string, h Home) {
		if h.Name == who || len(who) >= tokenIDLen && strings.HasPrefix(h.Fingerprint, strings.ToLower(who)) {
			if os.Remove(path) == nil {
				gone = append(gone, fmt.Sprintf("home %s (key %.16s)", h.Name, h.Fingerprint))
			}
		}
	})
	hash := ""
	if t, err := kkc.ParseToken(who); err == nil {
		hash = hashSecret(t.Secret)
	}
	err = errors.Join(err, readAll(filepath.Join(s.dir, tokensDir), func(path string, p Pending) {
		if p.ID == who || path == s.tokenPath(hash) {
			if os.Remove(path) == nil {
				gone = append(gone, "token "+p.ID)
			}
		}
	}))
	return gone, err
}

// cleanName makes a peer's name fit to be shown and stored.
func cleanName(name string) string {
	const most = 64
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, name)
	for len(name) > most {
		name = name[:len(name)-1]
	}
	name = strings.ToValidUTF8(name, "")
	if name == "" {
		return "unnamed"
	}
	return name
}

// NewToken makes a join token for the node whose state is in dir. Without addr
// the node must be running, and says itself where it can be reached.
func NewToken(dir, addr string, validFor time.Duration) (kkc.Token, Pending, error) {
	info, err := runningDaemon(dir)
	if err != nil && addr == "" {
		return kkc.Token{}, Pending{}, err
	}
	if addr == "" {
		addr = info.Addr
	}
	name := info.Name
	if name == "" {
		name = defaultName()
	}
	id, err := kkc.LoadIdentity(dir)
	if err != nil {
		return kkc.Token{}, Pending{}, err
	}
	secret, p, err := newTrustStore(dir).issue(validFor)
	if err != nil {
		return kkc.Token{}, p, err
	}
	return kkc.Token{Name: name, Addr: addr, Fingerprint: id.Fingerprint, Secret: secret}, p, nil
}

// Access lists who may use the node and which tokens are still unused.
func Access(dir string) ([]Home, []Pending, error) {
	s := newTrustStore(dir)
	hs, err := s.homes()
	ps, err2 := s.tokens()
	return hs, ps, errors.Join(err, err2)
}

// Revoke takes away the access of what who names, and has a running daemon end
// the sessions of homes so revoked. It returns what it revoked.
func Revoke(dir, who string) ([]string, error) {
	gone, err := newTrustStore(dir).revoke(who)
	if err != nil {
		return gone, err
	}
	if len(gone) == 0 {
		return nil, fmt.Errorf("revoke %q: no home of that name or key and no unused token of that id; `homing node revoke` without a name lists them", who)
	}
	pid, err := daemonPID(dir)
	if err != nil || pid == 0 {
		return gone, err
	}
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		return gone, fmt.Errorf("tell the running node (pid %d): %w; restart it to end sessions that are open", pid, err)
	}
	return gone, nil
}
