package kkc

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Token is what a node's owner hands to a home user: where the node is, which
// key it has, and a secret that lets the home in at first contact.
type Token struct {
	Name        string `json:"name"`
	Addr        string `json:"addr"` // host:port
	Fingerprint string `json:"key"`
	Secret      string `json:"secret"`
}

const (
	tokenPrefix = "homing1:"
	tokenSum    = 6 // bytes of SHA-256 in front, against a piece lost in copying
	maxToken    = 4096
)

// NewSecret makes a token's secret: 128 random bits.
func NewSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// String returns the token as one line without spaces.
func (t Token) String() string {
	body, err := json.Marshal(t)
	if err != nil {
		panic(err) // four strings cannot fail
	}
	sum := sha256.Sum256(body)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(sum[:tokenSum:tokenSum], body...))
}

// ParseToken reads what [Token.String] wrote.
func ParseToken(s string) (Token, error) {
	t, err := parseToken(strings.TrimSpace(s))
	if err != nil {
		return Token{}, fmt.Errorf("join token: %w; copy the whole line that 'homing node token' printed", err)
	}
	return t, nil
}

func parseToken(s string) (t Token, err error) {
	body, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return t, fmt.Errorf("does not begin with %q", tokenPrefix)
	}
	if len(body) > maxToken {
		return t, errors.New("too long")
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return t, err
	}
	if len(raw) < tokenSum {
		return t, errors.New("too short")
	}
	sum := sha256.Sum256(raw[tokenSum:])
	if string(sum[:tokenSum]) != string(raw[:tokenSum]) {
		return t, errors.New("checksum does not match")
	}
	if err := json.Unmarshal(raw[tokenSum:], &t); err != nil {
		return t, err
	}
	if _, _, err := net.SplitHostPort(t.Addr); err != nil {
		return t, err
	}
	return t, checkFingerprint(t.Fingerprint)
}

// checkFingerprint tells a fingerprint from other text.
func checkFingerprint(s string) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) != sha256.Size || strings.ToLower(s) != s {
		return fmt.Errorf("%.80q is not a key's fingerprint (64 lower-case hex digits)", s)
	}
	return nil
}
