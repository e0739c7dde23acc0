package kkc

import (
	"encoding/binary"
	"net"
	"sync/atomic"
)

// yamux's header (its spec.md): version, type, flags u16, stream u32, length u32.
const (
	yamuxHeaderSize = 12
	yamuxTypeData   = 0
)

// joinConn stands between yamux and the connection. yamux sends a frame's header
// and its body by two writes; joinConn keeps a data header back and sends it
// with the body that must follow, so that a small frame is one TLS record and
// one TCP segment (35 → 17 µs a round trip). It relies on yamux v0.1.2 writing
// from one goroutine and always the body next, which TestJoinConn and
// FuzzJoinConn watch.
//
// It also remembers what ended the connection, which yamux does not tell.
type joinConn struct {
	net.Conn
	held  bool   // buf holds a header
	buf   []byte // of the writing goroutine
	cause atomic.Pointer[error]
}

func newJoinConn(c net.Conn) *joinConn {
	return &joinConn{Conn: c, buf: make([]byte, 0, yamuxHeaderSize+writeChunk)}
}

func (c *joinConn) Write(p []byte) (int, error) {
	if !c.held && len(p) == yamuxHeaderSize && p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0 {
		c.buf = append(c.buf[:0], p...)
		c.held = true
		return len(p), nil
	}
	out := p
	if c.held {
		c.held = false
		c.buf = append(c.buf, p...)
		out = c.buf
	}
	if _, err := c.Conn.Write(out); err != nil {
		c.failed(err)
		return 0, err
	}
	return len(p), nil
}

func (c *joinConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.failed(err)
	}
	return n, err
}

// failed remembers the first error: the later ones come from closing.
func (c *joinConn) failed(err error) { c.cause.CompareAndSwap(nil, &err) }

// Cause returns what ended the connection, or nil.
func (c *joinConn) Cause() error {
	if p := c.cause.Load(); p != nil {
		return *p
	}
	return nil
}
