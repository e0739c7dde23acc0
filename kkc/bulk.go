package kkc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// bulk is the session's second connection, for pages and file contents. Frames
// of different transfers may alternate; one goroutine reads. Data for a transfer
// on which a BulkRecv waits go straight into its buffer; other data are parked,
// and when too much is parked the reader waits, for so long that only a mistake
// explains it.
type bulk struct {
	s        *Session
	attached chan struct{} // raw and conn are set
	nextID   atomic.Uint64

	writeMu sync.Mutex
	sent    uint64 // Seq
	joined  []byte // small parts become one write here

	raw  net.Conn
	conn *tls.Conn

	mu     sync.Mutex
	closed bool
	recv   map[uint64]*bulkRecv    // who waits
	parked map[uint64][]parkedData // data nobody waited for yet
	size   int                     // bytes parked
	free   [][]byte                // used parking places
	filler *bulkRecv               // whose p the reader is reading into right now
	change chan struct{}           // closed and made anew when recv, parked or filler changes
	dead   deadIDs
}

// bulkRecv is one waiting BulkRecv.
type bulkRecv struct {
	p    []byte // still to be filled
	done chan struct{}
	gone bool // given up while the reader was reading into p
}

// parkedData is a piece of a transfer; off bytes of it were taken.
type parkedData struct {
	buf []byte
	off int
}

const maxFree = 32

func newBulk(s *Session) *bulk {
	b := &bulk{
		s: s, attached: make(chan struct{}),
		recv: map[uint64]*bulkRecv{}, parked: map[uint64][]parkedData{},
		change: make(chan struct{}),
	}
	if s.home {
		b.nextID.Store(1)
	} else {
		b.nextID.Store(2)
	}
	return b
}

// NextBulkID returns a number for a new transfer: odd at home, even at the node.
func (s *Session) NextBulkID() uint64 { return s.bulk.nextID.Add(2) - 2 }

// attach gives the session its bulk connection, once.
func (b *bulk) attach(raw net.Conn, conn *tls.Conn) {
	b.mu.Lock()
	b.raw, b.conn = raw, conn
	closed := b.closed
	b.mu.Unlock()
	if closed {
		raw.Close()
		return
	}
	close(b.attached)
	go b.readLoop()
}

func (b *bulk) close() {
	b.mu.Lock()
	b.closed = true
	raw := b.raw
	b.mu.Unlock()
	if raw != nil {
		raw.Close()
	}
}

// lost ends the session, for want of its bulk connection. If that happened because the
// peer ended the session, or all of it broke, the other connection knows better.
func (b *bulk) lost(what string, err error) {
	timer := time.NewTimer(b.s.limits.Bye)
	defer timer.Stop()
	select {
	case <-b.s.done:
	case <-timer.C:
		b.s.fail(&EndError{ByPeer: true, Reason: what, Cause: err})
	}
}

func (b *bulk) wait(ctx context.Context) error {
	select {
	case <-b.attached:
		return nil
	case <-b.s.done:
		return b.s.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// BulkSend sends the parts, one after the other, as data of a transfer. It
// returns when they are on their way; the peer's [Session.BulkRecv] calls for
// the same id get the bytes in order, however they were cut.
func (s *Session) BulkSend(id uint64, parts ...[]byte) error {
	if err := s.bulk.send(id, parts); err != nil {
		return fmt.Errorf("bulk send %d: %w", id, err)
	}
	return nil
}

func (b *bulk) send(id uint64, parts [][]byte) error {
	if err := b.wait(context.Background()); err != nil {
		return err
	}
	for len(parts) > 0 {
		var n, size int // parts[:n] go into one frame
		for n < len(parts) && size+len(parts[n]) <= maxBulkFrame {
			size += len(parts[n])
			n++
		}
		var err error
		if n > 0 {
			err = b.sendFrame(id, size, parts[:n])
			parts = parts[n:]
		} else {
			err = b.sendLong(id, parts[0])
			parts = parts[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sendLong sends a part that is longer than a frame.
func (b *bulk) sendLong(id uint64, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxBulkFrame)
		if err := b.sendFrame(id, n, [][]byte{p[:n]}); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

const (
	recordSize = 16 << 10   // of TLS
	joinBelow  = recordSize // parts smaller than this are copied together
)

func (b *bulk) sendFrame(id uint64, size int, parts [][]byte) error {
	if size == 0 {
		return nil
	}
	b.writeMu.Lock()
	defer b.writeMu.Unlock()
	if err := b.s.Err(); err != nil {
		return err
	}
	b.raw.SetWriteDeadline(time.Now().Add(b.s.limits.BulkStall + b.s.limits.KeepaliveTimeout))
	b.sent++
	if cap(b.joined) == 0 {
		b.joined = make([]byte, 0, recordSize)
	}
	b.joined = b.joined[:bulkHeaderSize]
	bulkHeader{ID: id, Seq: b.sent, Len: uint32(size)}.put(b.joined)
	for _, p := range parts {
		if err := b.add(p); err != nil {
			return b.sendFailed(err)
		}
	}
	if err := b.flush(); err != nil {
		return b.sendFailed(err)
	}
	return nil
}

// add writes p so that records are full: through joined where p is small, or to
// fill up a record that is begun.
func (b *bulk) add(p []byte) error {
	for len(p) > 0 {
		if len(b.joined) == 0 && len(p) >= joinBelow {
			n := len(p) / recordSize * recordSize
			if _, err := b.conn.Write(p[:n]); err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		n := min(len(p), recordSize-len(b.joined))
		b.joined = append(b.joined, p[:n]...)
		p = p[n:]
		if len(b.joined) == recordSize {
			if err := b.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bulk) flush() error {
	if len(b.joined) == 0 {
		return nil
	}
	_, err := b.conn.Write(b.joined)
	b.joined = b.joined[:0]
	return err
}

// sendFailed ends the session: a part of a frame may be on its way.
func (b *bulk) sendFailed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.s.fail(&EndError{Reason: "peer took no bulk data in time", Cause: err})
	} else {
		b.lost("bulk connection lost", err)
	}
	return b.s.Err()
}
