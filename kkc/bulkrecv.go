package kkc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

var errBulkBusy = errors.New("two receivers for one transfer")

// BulkRecv fills p with the next bytes of a transfer. When it fails, because ctx
// ended for one, the transfer is over: what still comes of it is dropped.
func (s *Session) BulkRecv(ctx context.Context, id uint64, p []byte) error {
	if err := s.bulk.receive(ctx, id, p); err != nil {
		return fmt.Errorf("bulk receive %d: %w", id, err)
	}
	return nil
}

// BulkDrop ends a transfer that nobody here will receive: what came of it and
// what still comes is dropped.
func (s *Session) BulkDrop(id uint64) {
	s.bulk.mu.Lock()
	defer s.bulk.mu.Unlock()
	if s.bulk.recv[id] == nil { // else it is that receiver's to give up
		s.bulk.drop(id)
	}
}

func (b *bulk) receive(ctx context.Context, id uint64, p []byte) error {
	b.mu.Lock()
	if b.recv[id] != nil {
		b.mu.Unlock()
		return errBulkBusy
	}
	r := &bulkRecv{p: p, done: make(chan struct{})}
	if b.take(id, r) {
		b.mu.Unlock()
		return nil
	}
	b.recv[id] = r
	b.changed()
	b.mu.Unlock()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return b.giveUp(id, r, context.Cause(ctx))
	case <-b.s.done:
		return b.giveUp(id, r, b.s.Err())
	}
}

// changed wakes whoever waits for another state. b.mu is held.
func (b *bulk) changed() {
	close(b.change)
	b.change = make(chan struct{})
}

// take moves parked data to r, and reports whether it is full. b.mu is held.
func (b *bulk) take(id uint64, r *bulkRecv) bool {
	queue, before := b.parked[id], b.size
	for len(queue) > 0 && len(r.p) > 0 {
		c := &queue[0]
		n := copy(r.p, c.buf[c.off:])
		r.p = r.p[n:]
		c.off += n
		b.size -= n
		if c.off == len(c.buf) {
			b.release(c.buf)
			queue = queue[1:]
		}
	}
	if len(queue) == 0 {
		delete(b.parked, id)
	} else {
		b.parked[id] = queue
	}
	if b.size != before {
		b.changed()
	}
	return len(r.p) == 0
}

// drop ends a transfer. b.mu is held.
func (b *bulk) drop(id uint64) {
	for _, c := range b.parked[id] {
		b.size -= len(c.buf) - c.off
		b.release(c.buf)
	}
	delete(b.parked, id)
	delete(b.recv, id)
	b.dead.add(id)
	b.changed()
}

// release keeps some parking places for use again. b.mu is held.
func (b *bulk) release(buf []byte) {
	if cap(buf) == maxBulkFrame && len(b.free) < maxFree {
		b.free = append(b.free, buf[:maxBulkFrame])
	}
}

// place returns a buffer of n bytes.
func (b *bulk) place(n int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := len(b.free) - 1; i >= 0 && n > maxBulkFrame/4 {
		buf := b.free[i]
		b.free = b.free[:i]
		return buf[:n]
	}
	if n > maxBulkFrame/4 {
		return make([]byte, n, maxBulkFrame)
	}
	return make([]byte, n)
}

// giveUp ends a transfer, and returns only when nobody writes to its p any more.
func (b *bulk) giveUp(id uint64, r *bulkRecv, why error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-r.done:
		return nil
	default:
	}
	b.drop(id)
	r.gone = true
	for b.filler == r {
		b.raw.SetReadDeadline(time.Unix(1, 0)) // the reader takes it back
		change := b.change
		b.mu.Unlock()
		<-change
		b.mu.Lock()
	}
	return why
}

// readLoop receives frames until the connection ends.
func (b *bulk) readLoop() {
	err := b.readFrames(b.conn)
	var bad *protocolError
	if errors.As(err, &bad) {
		b.s.fail(&EndError{ByPeer: true, Reason: "peer broke the protocol: " + bad.text})
		return
	}
	b.lost("bulk connection lost", err)
}

func (b *bulk) readFrames(r io.Reader) error {
	head := make([]byte, bulkHeaderSize)
	scratch := make([]byte, 0, recordSize)
	for seq := uint64(1); ; seq++ {
		if err := b.readFull(r, head); err != nil {
			return err
		}
		h, err := parseBulkHeader(head, seq)
		if err != nil {
			return err
		}
		for left := int(h.Len); left > 0; {
			n, err := b.readSome(r, h.ID, left, scratch[:min(left, recordSize)])
			if err != nil {
				return err
			}
			left -= n
		}
	}
}

// readSome reads a piece of at most left bytes of a transfer's frame to where it
// belongs: the receiver's buffer, a parking place, or nowhere.
func (b *bulk) readSome(r io.Reader, id uint64, left int, scratch []byte) (int, error) {
	b.mu.Lock()
	if err := b.waitForPlace(id, left); err != nil {
		b.mu.Unlock()
		return 0, err
	}
	if b.dead.has(id) {
		b.mu.Unlock()
		return b.read(r, scratch)
	}
	to := b.recv[id]
	if to == nil {
		b.mu.Unlock()
		return left, b.park(r, id, left)
	}
	b.filler = to
	b.mu.Unlock()
	n, err := b.read(r, to.p[:min(left, len(to.p))])
	b.mu.Lock()
	defer b.mu.Unlock()
	b.filler = nil
	if to.gone {
		b.changed()
		return n, err
	}
	if to.p = to.p[n:]; len(to.p) == 0 {
		delete(b.recv, id)
		close(to.done)
	}
	return n, err
}

// park reads n bytes for which nobody waited yet.
func (b *bulk) park(r io.Reader, id uint64, n int) error {
	p := b.place(n)
	if err := b.readFull(r, p); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead.has(id) {
		b.release(p)
		return nil
	}
	b.parked[id] = append(b.parked[id], parkedData{buf: p})
	b.size += n
	if to := b.recv[id]; to != nil && b.take(id, to) { // came meanwhile
		delete(b.recv, id)
		close(to.done)
	}
	return nil
}

// waitForPlace returns when n bytes of a transfer can go somewhere. b.mu is held,
// and let go while it waits.
func (b *bulk) waitForPlace(id uint64, n int) error {
	var timeout <-chan time.Time
	for b.recv[id] == nil && !b.dead.has(id) && b.size+n > b.s.limits.BulkParked && b.size > 0 {
		if timeout == nil {
			timer := time.NewTimer(b.s.limits.BulkStall)
			defer timer.Stop()
			timeout = timer.C
		}
		change := b.change
		b.mu.Unlock()
		var err error
		select {
		case <-change:
		case <-b.s.done:
			err = b.s.Err()
		case <-timeout:
			err = badPeer("bulk transfer %d: nobody here asked for it", id)
		}
		b.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// read is one Read, in which a deadline set by giveUp is no error.
func (b *bulk) read(r io.Reader, p []byte) (int, error) {
	n, err := r.Read(p)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.closed {
			return n, err
		}
		b.raw.SetReadDeadline(time.Time{})
		return n, nil
	}
	return n, err
}

func (b *bulk) readFull(r io.Reader, p []byte) error {
	for len(p) > 0 {
		n, err := b.read(r, p)
		p = p[n:]
		if err != nil && len(p) > 0 {
			return err
		}
	}
	return nil
}

// deadIDs remembers the last transfers that were given up.
type deadIDs struct {
	set  map[uint64]struct{}
	ring [1024]uint64
	next int
}

func (d *deadIDs) has(id uint64) bool {
	_, ok := d.set[id]
	return ok
}

func (d *deadIDs) add(id uint64) {
	if d.set == nil {
		d.set = map[uint64]struct{}{}
	}
	if d.has(id) {
		return
	}
	if old := d.ring[d.next]; old != 0 {
		delete(d.set, old)
	}
	d.ring[d.next] = id
	d.next = (d.next + 1) % len(d.ring)
	d.set[id] = struct{}{}
}
