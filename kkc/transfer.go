package kkc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A transfer connection belongs to one move: TLS 1.3 with nothing in it but what
// the two ends write, both ways. So the pages of a move neither wait for other
// bulk data nor delay it, and nothing stands between them and TLS.
//
// Home tells the two nodes of a move about each other. The one that is to wait
// makes an [Expectation]; the other dials with its ticket, and needs no other
// admission: another node is no home, and can reach nothing else by it.

// maxExpected bounds the tickets of a server that were not used yet.
const maxExpected = 4096

var (
	errTicket    = errors.New("transfer connection without a valid ticket: it was used already, has expired or is another machine's")
	errCancelled = errors.New("no transfer connection is expected any more")
	errTooMany   = fmt.Errorf("this node expects %d transfer connections already; try again when moves have ended", maxExpected)
	errAtHome    = errors.New("a home dials transfer connections and expects none: ask the node for a ticket")
	errAtNode    = errors.New("only home knows the address of the session's peer: use DialTransfer with an address")
)

// An Expectation is a transfer connection that is to come to this node, once,
// within [Limits].Transfer.
type Expectation struct {
	Ticket string // what the dialling side must show

	server  *Server
	peer    string // fingerprint of the only key that may show it
	timer   *time.Timer
	settled chan struct{} // conn or err is set
	detach  func() bool   // from the session

	mu   sync.Mutex
	over bool
	conn net.Conn // not accepted yet
	err  error
}

// Expect makes a ticket for one transfer connection of the machine with the
// given key, which may be one that Hello would not admit.
func (s *Server) Expect(peer string) (*Expectation, error) {
	if err := checkFingerprint(peer); err != nil {
		return nil, fmt.Errorf("expect a transfer connection: %w", err)
	}
	limits := s.Limits.withDefaults()
	e := &Expectation{Ticket: newTicket(), server: s, peer: peer, settled: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrServerClosed
	case len(s.expected) >= maxExpected:
		return nil, errTooMany
	}
	if s.expected == nil {
		s.expected = map[string]*Expectation{}
	}
	s.expected[e.Ticket] = e
	e.timer = time.AfterFunc(limits.Transfer, func() {
		e.end(fmt.Errorf("no transfer connection came within %v: is this node's address open to the other machine?", limits.Transfer))
	})
	return e, nil
}

// Expect is [Server.Expect] of the server that has accepted the session; what is
// expected is not any more when the session ends.
func (s *Session) Expect(peer string) (*Expectation, error) {
	if s.server == nil {
		return nil, errAtHome
	}
	e, err := s.server.Expect(peer)
	if err != nil {
		return nil, err
	}
	detach := context.AfterFunc(s.ctx, func() { e.end(fmt.Errorf("wait for the transfer connection: %w", s.Err())) })
	e.mu.Lock()
	e.detach = detach
	over := e.over
	e.mu.Unlock()
	if over {
		detach()
	}
	return e, nil
}

// Accept waits for the connection, which is the caller's from then on. What has
// been written to it when it is closed arrives, unless there was something
// unread: an end that wants to be sure asks the other to say that it has all. A
// read ends with io.EOF only after the other end's Close, or its CloseWrite,
// which the connection also has.
func (e *Expectation) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case <-e.settled:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the transfer connection: %w", context.Cause(ctx))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	conn := e.conn
	e.conn = nil
	if conn == nil {
		return nil, e.err
	}
	e.err = errCancelled
	return conn, nil
}

// Cancel makes the ticket void, and closes a connection that came and was not
// accepted. After Accept has returned one it does nothing.
func (e *Expectation) Cancel() {
	e.end(errCancelled)
	e.mu.Lock()
	conn := e.conn
	e.conn = nil
	if conn != nil {
		e.err = errCancelled
	}
	e.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

func (e *Expectation) end(err error) { e.settle(nil, err) }

// settle decides how it ended, once, and reports whether it was this call.
func (e *Expectation) settle(conn net.Conn, err error) bool {
	s := e.server
	s.mu.Lock()
	delete(s.expected, e.Ticket)
	s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return false
	}
	e.over, e.conn, e.err = true, conn, err
	e.timer.Stop()
	if e.detach != nil {
		e.detach()
	}
	close(e.settled)
	return true
}

// greetTransfer gives a connection to who expects it.
func (a acceptor) greetTransfer(raw net.Conn, conn *tls.Conn, peer Peer, o opening) bool {
	a.mu.Lock()
	e := a.expected[o.Ticket]
	if e != nil && e.peer == peer.Fingerprint {
		delete(a.expected, o.Ticket)
	} else {
		e = nil
	}
	a.mu.Unlock()
	if e == nil {
		return a.refuse(conn, peer, errTicket)
	}
	if err := writeOpening(conn, answer{Hello: Hello{Protocol: Protocol}}); err != nil {
		e.end(fmt.Errorf("transfer connection lost at its beginning: %w", err))
		return false
	}
	raw.SetDeadline(time.Time{})
	conn.NetConn().(*wire).strict = true
	t := &transferConn{Conn: conn, bye: a.limits.Bye, forget: a.forgetTransfer}
	a.mu.Lock()
	closed := a.closed
	if !closed {
		a.transfers[t] = struct{}{}
	}
	a.mu.Unlock()
	if closed || !e.settle(t, nil) {
		t.Close()
	}
	return true
}

func (s *Server) forgetTransfer(t *transferConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.transfers, t)
}

// endTransfers ends what is expected, and what has come, with the server.
func (s *Server) endTransfers() {
	s.mu.Lock()
	var waiting []*Expectation
	for _, e := range s.expected {
		waiting = append(waiting, e)
	}
	for t := range s.transfers {
		t.NetConn().Close()
	}
	s.mu.Unlock()
	for _, e := range waiting {
		e.end(ErrServerClosed)
	}
}

// DialTransfer makes a transfer connection to the node at addr, which must hold
// the key pin and have made the ticket for our key. See [Expectation.Accept] for
// how such a connection ends; errors are as those of [Dial].
func DialTransfer(ctx context.Context, addr string, id *Identity, pin, ticket string) (net.Conn, error) {
	return (&Dialer{Identity: id, Pin: pin}).DialTransfer(ctx, addr, ticket)
}

// DialTransfer makes a transfer connection; see [DialTransfer].
func (d *Dialer) DialTransfer(ctx context.Context, addr, ticket string) (net.Conn, error) {
	if err := checkFingerprint(d.Pin); err != nil {
		return nil, fmt.Errorf("dial node at %s: %w", addr, err)
	}
	dd := d.withDefaults()
	_, conn, _, err := dd.open(ctx, addr, opening{Kind: kindTransfer, Ticket: ticket, Hello: Hello{Protocol: dd.Hello.Protocol}})
	if err != nil {
		return nil, err
	}
	return &transferConn{Conn: conn, bye: dd.Limits.Bye}, nil
}

// DialTransfer makes a transfer connection to the node of home's session, in the
// way in which the session was made.
func (s *Session) DialTransfer(ctx context.Context, ticket string) (net.Conn, error) {
	if s.dialer == nil {
		return nil, errAtNode
	}
	return s.dialer.DialTransfer(ctx, s.addr, ticket)
}

// transferConn is a TLS connection whose end does not take long.
type transferConn struct {
	*tls.Conn
	bye    time.Duration
	forget func(*transferConn)
}

// Close tells the peer that the data end here. TLS would wait five seconds for a
// peer that reads no more.
func (c *transferConn) Close() error {
	timer := time.AfterFunc(c.bye, func() { c.NetConn().Close() })
	defer timer.Stop()
	if c.forget != nil {
		c.forget(c)
	}
	return c.Conn.Close()
}
