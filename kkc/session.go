package kkc

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// Session is the channel between one home and one node. Its methods may be
// called from any goroutine.
//
// Its states are: made (lanes and sending work; the peer's messages wait),
// started ([Session.Start]), ended ([Session.Done] closed, [Session.Err] says
// how). It ends once, in [Session.ending].
type Session struct {
	Peer        Peer
	RemoteHello Hello

	home   bool
	limits Limits
	log    *slog.Logger
	raw    net.Conn // under TLS
	conn   *joinConn
	mux    *yamux.Session
	ctl    *control
	bulk   *bulk
	server *Server // the node's, which has accepted it
	dialer *Dialer // home's, which has made it
	addr   string  // dialled

	ctx      context.Context // ends with the session
	cancel   context.CancelFunc
	done     chan struct{}
	tornDown chan struct{}
	peerBye  chan struct{} // the peer has said bye

	mu      sync.Mutex
	started bool
	err     *EndError
}

// newSession builds a session on a connection on which the hellos are through.
func newSession(raw net.Conn, conn *tls.Conn, home bool, peer Peer, remote Hello, limits Limits, logger *slog.Logger) (*Session, error) {
	logger = logger.With("peer", peer.Addr, "name", remote.Name)
	s := &Session{
		Peer: peer, RemoteHello: remote,
		home: home, limits: limits, log: logger, raw: raw,
		conn: newJoinConn(conn),
		done: make(chan struct{}), tornDown: make(chan struct{}), peerBye: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	config := &yamux.Config{
		AcceptBacklog:          acceptBacklog,
		KeepAliveInterval:      limits.Keepalive, // not used: keepalive below names its cause
		ConnectionWriteTimeout: limits.KeepaliveTimeout,
		MaxStreamWindowSize:    256 << 10,
		StreamCloseTimeout:     30 * time.Second,
		Logger:                 log.New(muxLog{logger}, "", 0),
	}
	var err error
	if home {
		s.mux, err = yamux.Client(s.conn, config)
	} else {
		s.mux, err = yamux.Server(s.conn, config)
	}
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	s.bulk = newBulk(s)
	s.ctl = newControl(s)
	go s.keepalive()
	go s.watch()
	return s, nil
}

// muxLog takes yamux's log lines; what matters of them is in the EndError.
type muxLog struct{ log *slog.Logger }

func (l muxLog) Write(p []byte) (int, error) {
	l.log.Debug("mux", "text", clean(string(p)))
	return len(p), nil
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns nil while the session lives, and then an *[EndError].
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return s.err
}

// Context returns a context that ends with the session.
func (s *Session) Context() context.Context { return s.ctx }

// Home reports whether this is the home's end of the session.
func (s *Session) Home() bool { return s.home }

// Start begins to deliver the peer's messages. Before it, handlers are set.
func (s *Session) Start() {
	s.mu.Lock()
	again := s.started
	s.started = true
	s.mu.Unlock()
	if !again {
		go s.ctl.readLoop()
	}
}

// Close says bye with a reason, waits a moment for the peer to have seen it, and
// ends the session. What was written to lanes before arrives before the bye.
func (s *Session) Close(reason string) {
	if !s.ending(&EndError{Clean: true, Reason: clean(reason)}) {
		<-s.tornDown
		return
	}
	timer := time.NewTimer(s.limits.Bye)
	defer timer.Stop()
	go s.ctl.bye(clean(reason)) // ends with the connection at the latest
	select {
	case <-s.mux.CloseChan(): // the peer closes when it has read the bye
	case <-s.peerBye: // both end it at once
	case <-timer.C:
		s.raw.Close() // TLS would wait seconds to say that it closes
	}
	s.tearDown()
}

// fail ends a session that is broken, or to which the peer said bye.
func (s *Session) fail(e *EndError) {
	if s.ending(e) {
		if e.Clean {
			s.log.Debug("session ended by peer", "reason", e.Reason)
		} else {
			s.log.Info("session broken", "reason", e.Reason, "cause", e.Cause)
		}
		go s.tearDown()
	}
}

// ending makes the one transition to ended; it reports whether it was this call.
func (s *Session) ending(e *EndError) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.err = e
	s.cancel()
	close(s.done)
	return true
}

// tearDown frees everything, after which all of the session's goroutines end.
func (s *Session) tearDown() {
	if !s.err.Clean {
		s.raw.Close()
	}
	s.mux.Close()
	s.bulk.close()
	close(s.tornDown)
}

// broken ends the session because its connection ended without a bye.
func (s *Session) broken() {
	reason := "peer closed the connection without saying bye"
	cause := s.conn.Cause()
	if cause != nil && !isEOF(cause) {
		reason = "connection lost"
	}
	s.fail(&EndError{ByPeer: true, Reason: reason, Cause: cause})
}

// watch notices the end of the connection of a session that was not started; in
// a started one the control stream's reader does, after the bye if there is one.
func (s *Session) watch() {
	<-s.mux.CloseChan()
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if !started {
		s.broken()
	}
}

// keepalive asks the peer for a sign of life from time to time.
func (s *Session) keepalive() {
	tick := time.NewTicker(s.limits.Keepalive)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		if _, err := s.mux.Ping(); err != nil && !s.mux.IsClosed() {
			s.fail(&EndError{
				Reason: fmt.Sprintf("peer gave no sign of life for %v", s.limits.KeepaliveTimeout),
				Cause:  s.conn.Cause(),
			})
			return
		}
	}
}

// RTT asks the peer for a sign of life now, and returns the time that took.
func (s *Session) RTT() (time.Duration, error) {
	d, err := s.mux.Ping()
	if err != nil {
		return 0, s.streamError("ping", err)
	}
	return d, nil
}

// streamError explains an error of yamux, which knows few words: a lost
// connection, for one, is io.EOF or "session shutdown" there.
func (s *Session) streamError(what string, err error) error {
	if err == yamux.ErrConnectionWriteTimeout {
		// What was to be written may be on its way, in part: never try again.
		s.fail(&EndError{
			Reason: fmt.Sprintf("peer took no data for %v", s.limits.KeepaliveTimeout),
			Cause:  s.conn.Cause(),
		})
	}
	if s.mux.IsClosed() {
		// The control stream's reader is about to find the reason, or a bye.
		timer := time.NewTimer(2 * time.Second)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
			s.broken()
		}
	}
	if end := s.Err(); end != nil {
		err = end
	}
	return fmt.Errorf("%s: %w", what, err)
}
