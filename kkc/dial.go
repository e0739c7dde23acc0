package kkc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Dialer is home's way to a session, with everything that can be chosen.
type Dialer struct {
	Identity *Identity
	Pin      string // fingerprint of the node's key
	Hello    Hello
	Limits   Limits
	Log      *slog.Logger                                                      // nil: none
	Net      func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
}

// Dial makes a session with the node at addr, which must hold the key pin. Its
// errors are [UnreachableError], [NotHomingError], [PinError], [RefusedError] or
// the context's; each is one line that names cause and remedy. Handlers are to
// be set on the session before its Start.
func Dial(ctx context.Context, addr string, id *Identity, pin string, hello Hello) (*Session, error) {
	return (&Dialer{Identity: id, Pin: pin, Hello: hello}).Dial(ctx, addr)
}

// Dial makes a session; see [Dial].
func (d *Dialer) Dial(ctx context.Context, addr string) (*Session, error) {
	if err := checkFingerprint(d.Pin); err != nil {
		return nil, fmt.Errorf("dial node at %s: %w", addr, err)
	}
	dd := d.withDefaults()
	raw, conn, ans, err := dd.open(ctx, addr, opening{Kind: kindSession, Hello: dd.Hello})
	if err != nil {
		return nil, err
	}
	s, err := newSession(raw, conn, true, peerOf(conn), ans.Hello, dd.Limits, dd.Log)
	if err != nil {
		raw.Close()
		return nil, err
	}
	s.dialer, s.addr = &dd, addr
	if err := s.ctl.openStream(); err != nil {
		s.broken()
		return nil, s.streamError("open session", err)
	}
	go dd.openBulk(s, addr, ans.Ticket)
	return s, nil
}

func (d *Dialer) withDefaults() Dialer {
	dd := *d
	dd.Limits = d.Limits.withDefaults()
	if dd.Log == nil {
		dd.Log = slog.New(slog.DiscardHandler)
	}
	if dd.Net == nil {
		dd.Net = (&net.Dialer{}).DialContext
	}
	if dd.Hello.Protocol == 0 {
		dd.Hello.Protocol = Protocol
	}
	if dd.Hello.Role == "" {
		dd.Hello.Role = RoleHome
	}
	return dd
}

// openBulk adds the bulk connection to a session.
func (d *Dialer) openBulk(s *Session, addr, ticket string) {
	ctx, cancel := context.WithTimeout(s.ctx, s.limits.BulkConnect)
	defer cancel()
	raw, conn, _, err := d.open(ctx, addr, opening{Kind: kindBulk, Ticket: ticket, Hello: Hello{Protocol: d.Hello.Protocol}})
	if err != nil {
		s.bulk.lost("no bulk connection", err)
		return
	}
	s.bulk.attach(raw, conn)
}

// open makes a connection up to and including the answer to its opening.
func (d *Dialer) open(ctx context.Context, addr string, o opening) (net.Conn, *tls.Conn, answer, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Limits.Handshake)
	defer cancel()
	raw, err := d.Net(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, answer{}, &UnreachableError{Addr: addr, Err: err}
	}
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	conn, ans, err := d.greet(ctx, addr, raw, o)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return raw, conn, ans, nil
	}
	raw.Close()
	if cause := context.Cause(ctx); cause != nil {
		err = &UnreachableError{Addr: addr, Err: fmt.Errorf("no answer in time: %w", cause)}
	}
	return nil, nil, ans, err
}

func (d *Dialer) greet(ctx context.Context, addr string, raw net.Conn, o opening) (*tls.Conn, answer, error) {
	var ans answer
	noDelay(raw)
	conn := tls.Client(&wire{raw, o.Kind == kindTransfer}, clientTLS(d.Identity, addr, d.Pin))
	if err := conn.HandshakeContext(ctx); err != nil {
		var pin *PinError
		if errors.As(err, &pin) {
			return nil, ans, pin
		}
		return nil, ans, &NotHomingError{Addr: addr, Err: err}
	}
	o.Hello.Clock = time.Now().UnixNano()
	if err := writeOpening(conn, o); err != nil {
		return nil, ans, &NotHomingError{Addr: addr, Err: err}
	}
	if err := readOpening(conn, &ans); err != nil {
		return nil, ans, &NotHomingError{Addr: addr, Err: err}
	}
	if ans.Refused != "" {
		return nil, ans, &RefusedError{Addr: addr, Reason: clean(ans.Refused)}
	}
	if o.Kind == kindSession && ans.Hello.Protocol != o.Hello.Protocol {
		return nil, ans, &RefusedError{Addr: addr, Reason: checkProtocol(ans.Hello, o.Hello).Error()}
	}
	return conn, ans, nil
}
