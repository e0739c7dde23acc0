package kkc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
)

// writeLog is a connection that keeps what is written.
type writeLog struct {
	net.Conn
	writes [][]byte
	fail   error
}

func (c *writeLog) Write(p []byte) (int, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), nil
}

func (c *writeLog) Read([]byte) (int, error) { return 0, io.EOF }

func muxHeader(typ uint8, length uint32) []byte {
	h := make([]byte, yamuxHeaderSize)
	h[1] = typ
	binary.BigEndian.PutUint32(h[8:], length)
	return h
}

func TestJoinConn(t *testing.T) {
	log := &writeLog{}
	c := newJoinConn(log)
	twelve := []byte("twelve bytes") // looks like a header by its length
	for _, p := range [][]byte{
		muxHeader(1, 100),        // a window update goes at once
		muxHeader(0, 12), twelve, // joined
		muxHeader(2, 7),                   // a ping
		muxHeader(0, 12), muxHeader(0, 9), // a body that is a data header itself
		muxHeader(0, 0), // data of no length have no body
		muxHeader(0, 1<<16), make([]byte, 1<<16),
	} {
		if n, err := c.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	var sizes []int
	for _, w := range log.writes {
		sizes = append(sizes, len(w))
	}
	want := []int{12, 24, 12, 24, 12, 12 + 1<<16}
	if len(sizes) != len(want) {
		t.Fatalf("writes of %v, want %v", sizes, want)
	}
	for i := range want {
		if sizes[i] != want[i] {
			t.Fatalf("writes of %v, want %v", sizes, want)
		}
	}
}

func TestJoinConnCause(t *testing.T) {
	first := errors.New("first")
	log := &writeLog{fail: first}
	c := newJoinConn(log)
	c.Write(muxHeader(2, 0))
	c.Read(nil)
	if c.Cause() != first {
		t.Fatal(c.Cause())
	}
}

// FuzzJoinConn writes frames as yamux does: what comes out must be the same
// bytes, whole frames at a time.
func FuzzJoinConn(f *testing.F) {
	f.Add([]byte{0, 12, 1, 0, 0, 0, 2, 3, 0, 200})
	f.Fuzz(func(t *testing.T, plan []byte) {
		log := &writeLog{}
		c := newJoinConn(log)
		var want [][]byte
		for i := 0; i+1 < len(plan); i += 2 {
			typ, n := plan[i]%4, int(plan[i+1])
			h := muxHeader(typ, uint32(n))
			frame := bytes.Clone(h)
			if n, err := c.Write(h); n != yamuxHeaderSize || err != nil {
				t.Fatal(n, err)
			}
			clear(h) // yamux uses it again
			if typ == yamuxTypeData && n > 0 {
				body := muxHeader(yamuxTypeData, 5) // a body that looks like a header
				body = append(body, plan...)
				body = append(body, make([]byte, n)...)[:n]
				frame = append(frame, body...)
				if m, err := c.Write(body); m != n || err != nil {
					t.Fatal(m, err)
				}
			}
			want = append(want, frame)
		}
		if len(want) != len(log.writes) {
			t.Fatalf("%d frames, %d writes", len(want), len(log.writes))
		}
		for i := range want {
			if !bytes.Equal(want[i], log.writes[i]) {
				t.Fatalf("frame %d: %x instead of %x", i, log.writes[i], want[i])
			}
		}
	})
}
