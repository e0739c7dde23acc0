package kkc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
)

const alpn = "homing"

// baseTLS holds what both sides want: TLS 1.3 only, no resumption (it would skip
// the look at the peer's key), full records from the start.
func baseTLS(id *Identity) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		Certificates:                []tls.Certificate{id.Cert},
		NextProtos:                  []string{alpn},
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}
}

// clientTLS accepts exactly the pinned key. TLS itself has the peer prove that it
// holds it; who signed the certificate means nothing here.
func clientTLS(id *Identity, addr, pin string) *tls.Config {
	c := baseTLS(id)
	c.InsecureSkipVerify = true // replaced by:
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if got := fingerprint(cs.PeerCertificates[0]); got != pin {
			return &PinError{Addr: addr, Want: pin, Got: got}
		}
		return nil
	}
	return c
}

// serverTLS wants some key of the peer; whether it is welcome the hello decides.
func serverTLS(id *Identity) *tls.Config {
	c := baseTLS(id)
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

func peerOf(c *tls.Conn) Peer {
	return Peer{
		Fingerprint: fingerprint(c.ConnectionState().PeerCertificates[0]),
		Addr:        c.RemoteAddr().String(),
	}
}

// noDelay sends small frames at once.
func noDelay(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetNoDelay(true) // can only fail on a dead connection, which shows soon enough
	}
}

// wire is what TLS stands on. Go's TLS takes a connection that was cut between two
// records for one that its end was told of; where strict is set, it does not.
type wire struct {
	net.Conn
	strict bool // not changed while the connection is in use
}

var errCut = fmt.Errorf("connection was cut: %w", io.ErrUnexpectedEOF)

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.strict && err == io.EOF {
		err = errCut
	}
	return n, err
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
