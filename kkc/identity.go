package kkc

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Identity is a machine's key. Its certificate is only a vessel for the key:
// names and dates in it mean nothing.
type Identity struct {
	Cert        tls.Certificate
	Fingerprint string // SHA-256 of the SubjectPublicKeyInfo, 64 hex digits
}

const identityFile = "identity.pem"

// LoadIdentity reads the identity kept in dir, and makes one at first use. Key
// and certificate are one file, readable by its owner only, which appears
// whole: two processes that come first at the same time get the same one.
func LoadIdentity(dir string) (*Identity, error) {
	path := filepath.Join(dir, identityFile)
	id, err := readIdentity(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	data, err := newIdentity()
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	if err := linkNew(path, data); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("save identity: %w", err)
	}
	return readIdentity(path)
}

// NewIdentity makes an identity that lives in memory only.
func NewIdentity() (*Identity, error) {
	data, err := newIdentity()
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return parseIdentity(data)
}

func readIdentity(path string) (*Identity, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("identity %s can be read by others (mode %04o): chmod 600 it, or remove it to get a new one", path, st.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	id, err := parseIdentity(data)
	if err != nil {
		return nil, fmt.Errorf("identity %s is damaged (%w): remove it to get a new one, and join again", path, err)
	}
	return id, nil
}

func parseIdentity(data []byte) (*Identity, error) {
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	cert.Leaf = leaf
	return &Identity{Cert: cert, Fingerprint: fingerprint(leaf)}, nil
}

func newIdentity() ([]byte, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "homing"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: no end known
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}); err != nil {
		return nil, err
	}
	if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// linkNew makes path with data, whole or not at all; it never replaces a file.
func linkNew(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), identityFile+".new*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
