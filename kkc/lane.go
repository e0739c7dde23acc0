package kkc

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// Lane carries binary frames in order, in both directions: one yamux stream.
// One goroutine reads at a time; writers may be several.
type Lane struct {
	s      *Session
	stream *yamux.Stream
	closed atomic.Bool

	writeMu sync.Mutex
	sent    atomic.Uint64 // Seq, changed under writeMu
	out     []byte

	received atomic.Uint64 // Seq, changed by the reader
	in       []byte
	r, w     int // in[r:w] was read from the stream and not yet returned
}

const (
	laneBuffer     = 4 << 10 // at first
	laneBufferKeep = 2 << 20 // a buffer that grew beyond it is let go
)

// OpenLane makes a lane, which the peer gets from its [Session.AcceptLane].
func (s *Session) OpenLane() (*Lane, error) {
	select {
	case <-s.ctl.opened: // the control stream is the first
	case <-s.done:
	}
	stream, err := s.mux.OpenStream()
	return s.newLane("open lane", stream, err)
}

// AcceptLane returns the next lane that the peer opened. It is to be called
// again without delay.
func (s *Session) AcceptLane() (*Lane, error) {
	select {
	case <-s.ctl.opened:
	case <-s.done:
	}
	stream, err := s.mux.AcceptStream()
	return s.newLane("accept lane", stream, err)
}

func (s *Session) newLane(what string, stream *yamux.Stream, err error) (*Lane, error) {
	if err != nil {
		return nil, s.streamError(what, err)
	}
	if n := s.mux.NumStreams(); n > maxLanes {
		stream.Close()
		return nil, fmt.Errorf("%s: %d are open, limit %d", what, n, maxLanes)
	}
	return &Lane{s: s, stream: stream, in: make([]byte, laneBuffer), out: make([]byte, 0, laneBuffer)}, nil
}

// ID is the lane's number, the same on both sides.
func (l *Lane) ID() uint32 { return l.stream.StreamID() }

// ReadFrame returns the next frame, which is valid until the next ReadFrame. It
// returns io.EOF when the peer closed the lane, [ErrLaneClosed] when this side
// did, and else an error that says how the session ended.
func (l *Lane) ReadFrame() ([]byte, error) {
	if err := l.fill(laneHeaderSize); err != nil {
		return nil, err
	}
	h, err := parseLaneHeader(l.in[l.r:l.w], l.received.Load()+1, l.sent.Load())
	if err != nil {
		text := fmt.Sprintf("lane %d: %v", l.ID(), err)
		l.s.fail(&EndError{ByPeer: true, Reason: "peer broke the protocol: " + text})
		return nil, l.s.streamError("lane", err)
	}
	if h.Kind == frameEnd {
		return nil, io.EOF // and again, if asked again
	}
	end := laneHeaderSize + int(h.Len)
	if err := l.fill(end); err != nil {
		return nil, err
	}
	p := l.in[l.r+laneHeaderSize : l.r+end : l.r+end]
	l.r += end
	l.received.Store(h.Seq)
	return p, nil
}

// fill reads until there are n bytes at in[r:].
func (l *Lane) fill(n int) error {
	if l.r == l.w {
		l.r, l.w = 0, 0
		if len(l.in) > laneBufferKeep {
			l.in = make([]byte, laneBuffer)
		}
	}
	for l.w-l.r < n {
		if l.r+n > len(l.in) {
			l.makeRoom(n)
		}
		m, err := l.stream.Read(l.in[l.w:])
		l.w += m
		if err != nil && m == 0 {
			return l.readError(err)
		}
	}
	return nil
}

// makeRoom gets space at in[w:], at first by moving what is there to the front.
// Beyond that it at most doubles what has come already, up to n: a peer gets no
// memory for a length it only announces.
func (l *Lane) makeRoom(n int) {
	size := len(l.in)
	if have := l.w - l.r; size < n && have >= size/2 {
		size = min(n, max(2*size, 64<<10))
	}
	if size == len(l.in) {
		if l.r > 0 {
			l.w = copy(l.in, l.in[l.r:l.w])
			l.r = 0
		}
		return
	}
	in := make([]byte, size)
	l.w = copy(in, l.in[l.r:l.w])
	l.r, l.in = 0, in
}

func (l *Lane) readError(err error) error {
	switch {
	case l.closed.Load():
		return ErrLaneClosed
	case errors.Is(err, io.EOF) && !l.s.mux.IsClosed():
		err = errors.New("peer ended it without an end frame")
	case errors.Is(err, yamux.ErrConnectionReset) && !l.s.mux.IsClosed():
		err = errors.New("peer reset it: too many lanes wait to be accepted there, or it was not closed on both sides in time")
	}
	return l.s.streamError("lane", err)
}

// WriteFrame sends one frame made of the parts. A frame up to writeChunk is one
// yamux frame, one TLS record and one TCP segment. It blocks while the peer's
// reader does not keep up.
func (l *Lane) WriteFrame(parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > maxLaneFrame {
		return fmt.Errorf("lane: frame of %d bytes, limit %d", n, maxLaneFrame)
	}
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if l.closed.Load() {
		return ErrLaneClosed
	}
	l.begin(laneHeader{Len: uint32(n), Kind: frameData})
	for _, p := range parts {
		for len(l.out)+len(p) > writeChunk {
			m := writeChunk - len(l.out)
			l.out = append(l.out, p[:m]...)
			if err := l.flush(); err != nil {
				return err
			}
			p = p[m:]
		}
		l.out = append(l.out, p...)
	}
	return l.flush()
}

// begin puts a frame's header into out.
func (l *Lane) begin(h laneHeader) {
	h.Seq = l.sent.Add(1)
	h.Ack = l.received.Load()
	l.out = l.out[:laneHeaderSize]
	h.put(l.out)
}

func (l *Lane) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.stream.Write(l.out)
	l.out = l.out[:0]
	if err == nil {
		return nil
	}
	if errors.Is(err, yamux.ErrStreamClosed) && l.closed.Load() {
		return ErrLaneClosed
	}
	return l.s.streamError("lane", err)
}

// Close ends the lane in both directions: the peer reads io.EOF after the last
// frame, and a ReadFrame that waits here returns. What the peer still sends is
// lost.
func (l *Lane) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.stream.SetReadDeadline(time.Unix(1, 0)) // wakes ReadFrame
	if !l.writeMu.TryLock() {
		// A writer waits for the peer: it cannot be that the peer still cares.
		return l.stream.Close()
	}
	defer l.writeMu.Unlock()
	l.begin(laneHeader{Kind: frameEnd})
	l.stream.SetWriteDeadline(time.Now().Add(l.s.limits.Bye))
	err := l.flush()
	l.stream.Close()
	if err != nil && l.s.Err() == nil {
		return err
	}
	return nil
}
