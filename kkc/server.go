package kkc

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// Server is the node's side: it waits for homes. Its fields are not to be
// changed once Serve runs.
type Server struct {
	Identity *Identity
	Version  string // of the program, told to homes of another protocol

	// Hello admits a peer by returning the node's own hello, or refuses it: the
	// error's text is shown to the user at home. It may be called from many
	// goroutines. The protocol has been compared already.
	Hello func(peer Peer, h Hello) (Hello, error)

	// Handle gets each new session, in its own goroutine. It sets handlers and
	// calls Start. The session lives on when it returns.
	Handle func(*Session)

	Log    *slog.Logger // nil: none
	Limits Limits

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	pending   map[net.Conn]struct{} // hello not through
	sessions  map[*Session]struct{}
	tickets   map[string]*Session // bulk connections to come
	expected  map[string]*Expectation
	transfers map[*transferConn]struct{}
}

// Serve accepts connections from l until Close, when it returns
// [ErrServerClosed], or until l fails for good. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	limits := s.Limits.withDefaults()
	logger := s.Log
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, limits.Handshakes)
	pause := time.Duration(0)
	for {
		places <- struct{}{} // all are freed after limits.Handshake at the latest
		raw, err := l.Accept()
		if err != nil {
			<-places
			switch {
			case s.isClosed():
				return ErrServerClosed
			case !passing(err):
				return err
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			logger.Warn("cannot accept a connection now", "err", err, "again in", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		wg.Go(func() {
			defer func() { <-places }()
			a := acceptor{s, limits, logger.With("peer", raw.RemoteAddr())}
			a.accept(raw)
		})
	}
}

// passing tells errors of accept(2) that go away again: too many files, too
// little memory, a connection that was gone before it was accepted.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Close stops listening and ends all sessions with a bye. It does not wait for
// Handle to return.
func (s *Server) Close(reason string) {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	var wg sync.WaitGroup
	for sess := range s.sessions {
		wg.Go(func() { sess.Close(reason) })
	}
	s.mu.Unlock()
	wg.Wait()
	s.endTransfers()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.pending { // last: a bulk connection's end is no news after the bye
		c.Close()
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners == nil {
		s.listeners = map[net.Listener]struct{}{}
		s.pending = map[net.Conn]struct{}{}
		s.sessions = map[*Session]struct{}{}
		s.tickets = map[string]*Session{}
		s.transfers = map[*transferConn]struct{}{}
	}
	if !s.closed {
		s.listeners[l] = struct{}{}
	}
	return !s.closed
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// acceptor leads one connection to its place.
type acceptor struct {
	*Server
	limits Limits
	log    *slog.Logger
}

func (a acceptor) accept(raw net.Conn) {
	a.mu.Lock()
	closed := a.closed
	if !closed {
		a.pending[raw] = struct{}{}
	}
	a.mu.Unlock()
	ok := !closed && a.greet(raw)
	a.mu.Lock()
	delete(a.pending, raw)
	a.mu.Unlock()
	if !ok {
		raw.Close()
	}
}

// greet reports whether the connection found an owner.
func (a acceptor) greet(raw net.Conn) bool {
	noDelay(raw)
	raw.SetDeadline(time.Now().Add(a.limits.Handshake))
	conn := tls.Server(&wire{Conn: raw}, serverTLS(a.Identity))
	if err := conn.HandshakeContext(context.Background()); err != nil {
		a.log.Debug("not a homing connection", "err", err)
		return false
	}
	var o opening
	if err := readOpening(conn, &o); err != nil {
		a.log.Debug("not a homing connection", "err", err)
		return false
	}
	peer := peerOf(conn)
	if err := checkProtocol(Hello{Protocol: Protocol, Version: a.Version}, o.Hello); err != nil {
		return a.refuse(conn, peer, err)
	}
	switch o.Kind {
	case kindSession:
		return a.greetSession(raw, conn, peer, o)
	case kindBulk:
		return a.greetBulk(raw, conn, peer, o)
	case kindTransfer:
		return a.greetTransfer(raw, conn, peer, o)
	}
	return a.refuse(conn, peer, errors.New("connection of unknown kind"))
}

// refuse tells the peer why not, and waits until it has hung up, lest the reset
// of the connection overtake the words.
func (a acceptor) refuse(conn *tls.Conn, peer Peer, why error) bool {
	a.log.Info("refused", "key", peer.Fingerprint, "reason", why)
	if writeOpening(conn, answer{Refused: clean(why.Error())}) == nil {
		conn.SetDeadline(time.Now().Add(min(a.limits.Bye, a.limits.Handshake)))
		conn.CloseWrite()
		conn.Read(make([]byte, 1))
	}
	return false
}

func (a acceptor) greetSession(raw net.Conn, conn *tls.Conn, peer Peer, o opening) bool {
	mine, err := a.Hello(peer, o.Hello)
	if err != nil {
		return a.refuse(conn, peer, err)
	}
	if mine.Role == "" {
		mine.Role = RoleNode
	}
	mine.Protocol = Protocol
	mine.Clock = time.Now().UnixNano()
	o.Hello.Secret = "" // has done its work
	// The session comes first, so that the ticket is good when it arrives; home
	// sends nothing before it has the answer.
	sess, err := newSession(raw, conn, false, peer, o.Hello, a.limits, a.log)
	if err != nil {
		a.log.Error("cannot make session", "err", err)
		return false
	}
	sess.server = a.Server
	ticket := newTicket()
	a.mu.Lock()
	closed := a.closed
	a.sessions[sess] = struct{}{}
	a.tickets[ticket] = sess
	a.mu.Unlock()
	go a.look(sess, ticket)
	if err := writeOpening(conn, answer{Hello: mine, Ticket: ticket}); err != nil {
		sess.fail(&EndError{ByPeer: true, Reason: "peer went away before the answer", Cause: err})
		return true
	}
	raw.SetDeadline(time.Time{})
	if closed {
		go sess.Close("node is shutting down")
	}
	go a.serveSession(sess)
	return true
}

func newTicket() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (a acceptor) serveSession(sess *Session) {
	if err := sess.ctl.openStream(); err != nil {
		sess.broken()
		return
	}
	a.Handle(sess)
}

// look forgets a session after its end, and its ticket in time.
func (a acceptor) look(sess *Session, ticket string) {
	timer := time.NewTimer(a.limits.BulkConnect)
	defer timer.Stop()
	select {
	case <-sess.Done():
	case <-sess.bulk.attached:
	case <-timer.C:
		sess.fail(&EndError{ByPeer: true, Reason: "peer made no bulk connection"})
	}
	a.mu.Lock()
	delete(a.tickets, ticket)
	a.mu.Unlock()
	<-sess.Done()
	a.mu.Lock()
	delete(a.sessions, sess)
	a.mu.Unlock()
}

// greetBulk binds a connection to the session whose ticket and key it shows.
func (a acceptor) greetBulk(raw net.Conn, conn *tls.Conn, peer Peer, o opening) bool {
	a.mu.Lock()
	sess := a.tickets[o.Ticket]
	if sess != nil && sess.Peer.Fingerprint == peer.Fingerprint {
		delete(a.tickets, o.Ticket)
	} else {
		sess = nil
	}
	a.mu.Unlock()
	if sess == nil {
		return a.refuse(conn, peer, errors.New("bulk connection without a valid ticket"))
	}
	if err := writeOpening(conn, answer{Hello: Hello{Protocol: Protocol}}); err != nil {
		sess.fail(&EndError{ByPeer: true, Reason: "bulk connection lost", Cause: err})
		return false
	}
	raw.SetDeadline(time.Time{})
	sess.bulk.attach(raw, conn)
	return true
}
