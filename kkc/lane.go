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
//
// A round trip of a small frame allocates nothing here; yamux and TLS take 113
// bytes in three pieces for each frame sent and received.
type Lane struct {
	s      *Session
	stream *yamux.Stream
	closed atomic.Bool

	writeMu  sync.Mutex
	sent     atomic.Uint64 // Seq, changed under writeMu
	out      []byte        // what is to be written
	writeErr error         // a frame was sent in part: no other may follow

	received atomic.Uint64 // Seq, changed by the reader
	in       frameReader
}

// OpenLane makes a lane, which the peer gets from its [Session.AcceptLane].
func (s *Session) OpenLane() (*Lane, error) {
	stream, err := s.mux.OpenStream()
	return s.newLane("open lane", stream, err)
}

// AcceptLane returns the next lane that the peer opened. It is to be called
// again without delay.
func (s *Session) AcceptLane() (*Lane, error) {
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
	return &Lane{
		s: s, stream: stream,
		in:  frameReader{src: stream, buf: make([]byte, laneBuffer)},
		out: make([]byte, 0, laneBuffer),
	}, nil
}

// ID is the lane's number, the same on both sides.
func (l *Lane) ID() uint32 { return l.stream.StreamID() }

// ReadFrame returns the next frame, which is valid until the next ReadFrame. It
// returns io.EOF when the peer closed the lane, [ErrLaneClosed] when this side
// did, and else an error that says how the session ended.
func (l *Lane) ReadFrame() ([]byte, error) {
	h, p, err := l.in.next(l.received.Load()+1, &l.sent)
	if err != nil {
		return nil, l.readError(err)
	}
	if l.closed.Load() {
		return nil, ErrLaneClosed
	}
	if h.Kind == frameEnd {
		return nil, io.EOF
	}
	l.received.Store(h.Seq)
	return p, nil
}

func (l *Lane) readError(err error) error {
	var bad *protocolError
	switch {
	case l.closed.Load():
		return ErrLaneClosed
	case errors.As(err, &bad):
		text := fmt.Sprintf("peer broke the protocol: lane %d: %s", l.ID(), bad.text)
		l.s.fail(&EndError{ByPeer: true, Reason: text})
	case errors.Is(err, io.EOF) && !l.s.mux.IsClosed():
		err = errors.New("peer ended it without an end frame")
	case errors.Is(err, yamux.ErrConnectionReset) && !l.s.mux.IsClosed():
		err = errors.New("peer reset it: too many lanes wait to be accepted there, or it was not closed on both sides in time")
	}
	return l.s.streamError("lane", err)
}

// WriteFrame sends one frame made of the parts. A frame up to 64 KiB is one
// yamux frame, and a small one also one TLS record and one TCP segment. It
// blocks while the peer's reader does not keep up.
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
	if l.writeErr != nil {
		return l.writeErr
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
	if err != nil {
		l.writeErr = ErrLaneClosed
		if !l.closed.Load() {
			l.writeErr = l.s.streamError("lane", err)
		}
	}
	return l.writeErr
}

// Close ends the lane in both directions: the peer reads io.EOF after the last
// frame, and a ReadFrame that waits here returns. What the peer still sends is
// lost. A WriteFrame that waits here gets [Limits].Bye to finish.
func (l *Lane) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.stream.SetReadDeadline(time.Unix(1, 0)) // wakes ReadFrame
	l.stream.SetWriteDeadline(time.Now().Add(l.s.limits.Bye))
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if l.writeErr == nil {
		l.begin(laneHeader{Kind: frameEnd})
		l.flush() // the peer then sees an end without an end frame
	}
	return l.stream.Close()
}

const (
	laneBuffer     = 4 << 10 // at first
	laneBufferKeep = 2 << 20 // a buffer that grew beyond it is let go
)

// frameReader cuts a stream into frames, straight off its own buffer.
type frameReader struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] was read from src and not yet returned
}

// next returns the frame with number seq; sent is how many the peer may have
// acknowledged. The end frame stays where it is, to be found again.
func (f *frameReader) next(seq uint64, sent *atomic.Uint64) (laneHeader, []byte, error) {
	if err := f.fill(laneHeaderSize); err != nil {
		return laneHeader{}, nil, err
	}
	h, err := parseLaneHeader(f.buf[f.r:f.w], seq, sent.Load())
	if err != nil || h.Kind == frameEnd {
		return h, nil, err
	}
	end := laneHeaderSize + int(h.Len)
	if err := f.fill(end); err != nil {
		return h, nil, err
	}
	p := f.buf[f.r+laneHeaderSize : f.r+end : f.r+end]
	f.r += end
	return h, p, nil
}

// fill reads until there are n bytes at buf[r:].
func (f *frameReader) fill(n int) error {
	if f.r == f.w {
		f.r, f.w = 0, 0
		if len(f.buf) > laneBufferKeep {
			f.buf = make([]byte, laneBuffer)
		}
	}
	for f.w-f.r < n {
		if f.r+n > len(f.buf) {
			f.makeRoom(n)
		}
		m, err := f.src.Read(f.buf[f.w:])
		f.w += m
		if err != nil && f.w-f.r < n {
			return err
		}
	}
	return nil
}

// makeRoom gets space at buf[w:], at first by moving what is there to the front.
// Beyond that it at most doubles what has come already, up to n: a peer gets no
// memory for a length it only announces.
func (f *frameReader) makeRoom(n int) {
	buf := f.buf
	if size := len(buf); size < n && f.w-f.r >= size/2 {
		buf = make([]byte, min(n, max(2*size, 64<<10)))
	}
	f.w = copy(buf, f.buf[f.r:f.w])
	f.r, f.buf = 0, buf
}
