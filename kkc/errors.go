package kkc

import (
	"errors"
	"fmt"
	"net"
)

// RefusedError is returned by [Dial] when the node answered, and said no.
type RefusedError struct {
	Addr   string
	Reason string // the node's own words
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("node at %s refused: %s", e.Addr, e.Reason)
}

// PinError is returned by [Dial] when another key than the pinned one answers.
type PinError struct {
	Addr, Want, Got string
}

func (e *PinError) Error() string {
	return fmt.Sprintf("node at %s shows key %.16s, not the %.16s it was joined with: it is another machine, or was set up anew; if that is right, join it again with a fresh token (homing node token)", e.Addr, e.Got, e.Want)
}

// UnreachableError is returned by [Dial] when no connection came about.
type UnreachableError struct {
	Addr string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach node at %s: %v; is 'homing node' running there, and the port open?", e.Addr, shortNetError(e.Err))
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// NotHomingError is returned by [Dial] when something answers that is not a
// homing node.
type NotHomingError struct {
	Addr string
	Err  error
}

func (e *NotHomingError) Error() string {
	return fmt.Sprintf("%s does not answer like a homing node (%v): check the address, and that nothing between changes the connection", e.Addr, e.Err)
}

func (e *NotHomingError) Unwrap() error { return e.Err }

// EndError says how a session ended. [Session.Err] always returns one after
// [Session.Done], and calls that fail for this cause wrap it.
type EndError struct {
	Clean  bool   // ended by a bye message, from either side
	ByPeer bool   // it was the peer that said bye, or broke the protocol
	Reason string // text of the bye, or what went wrong
	Cause  error  // the connection's own error, if it was broken
}

func (e *EndError) Error() string {
	switch {
	case e.Clean && e.ByPeer:
		return fmt.Sprintf("session ended by peer: %s", e.Reason)
	case e.Clean:
		return fmt.Sprintf("session ended: %s", e.Reason)
	case e.Cause != nil:
		return fmt.Sprintf("session broken: %s: %v", e.Reason, e.Cause)
	}
	return fmt.Sprintf("session broken: %s", e.Reason)
}

func (e *EndError) Unwrap() error { return e.Cause }

// IsClean reports whether err means that a session ended as agreed (bye).
func IsClean(err error) bool {
	var e *EndError
	return errors.As(err, &e) && e.Clean
}

// RemoteError is what a transaction's handler at the peer returned.
type RemoteError struct {
	Type string // of the transaction
	Text string
}

func (e *RemoteError) Error() string { return e.Text }

// ErrLaneClosed is returned by a lane's methods after its Close.
var ErrLaneClosed = errors.New("lane closed")

// ErrServerClosed is returned by [Server.Serve] after [Server.Close].
var ErrServerClosed = errors.New("channel server closed")

// errStarted is what handlers that come too late panic with.
var errStarted = errors.New("handlers are to be set before Session.Start")

// shortNetError leaves out "dial tcp ADDR:", which our own text says already.
func shortNetError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return op.Err
	}
	return err
}

// protocolError is what only a faulty or hostile peer does.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return e.text }

func badPeer(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}
