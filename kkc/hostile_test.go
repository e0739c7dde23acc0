package kkc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// hostile makes a session whose home end the test drives by hand.
func hostile(t *testing.T) (home, node *Session) {
	t.Helper()
	homeID, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	nodeID, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limits := Limits{Bye: 200 * time.Millisecond, BulkStall: 200 * time.Millisecond, BulkParked: 1 << 20}
	nodes := make(chan *Session, 1)
	srv := &Server{
		Identity: nodeID, Limits: limits,
		Hello:  func(Peer, Hello) (Hello, error) { return Hello{}, nil },
		Handle: func(s *Session) { s.Start(); nodes <- s },
	}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close("over"); <-served })
	d := &Dialer{Identity: homeID, Pin: nodeID.Fingerprint, Limits: limits}
	home, err = d.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { home.Close("over") })
	return home, <-nodes
}

func wantBroken(t *testing.T, s *Session, words string) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("session lives on")
	}
	var end *EndError
	if !errors.As(s.Err(), &end) || end.Clean || !end.ByPeer || !strings.Contains(end.Reason, words) {
		t.Fatalf("want %q, got %v", words, s.Err())
	}
}

func TestHostileControl(t *testing.T) {
	for name, c := range map[string]struct{ bytes, words string }{
		"length": {"\xff\xff\xff\xff", "limit"},
		"json":   {"\x00\x00\x00\x02{]", "not understood"},
		"seq":    {"\x00\x00\x00\x09{\"seq\":2}", "is due"},
	} {
		t.Run(name, func(t *testing.T) {
			home, node := hostile(t)
			home.ctl.stream.Write([]byte(c.bytes))
			wantBroken(t, node, c.words)
		})
	}
}

func TestHostileLane(t *testing.T) {
	for name, c := range map[string]struct {
		h     laneHeader
		words string
	}{
		"length": {laneHeader{Len: maxLaneFrame + 1, Seq: 1}, "limit"},
		"gap":    {laneHeader{Seq: 2}, "is due"},
		"ack":    {laneHeader{Seq: 1, Ack: 1}, "acknowledges"},
		"kind":   {laneHeader{Seq: 1, Kind: 77}, "kind"},
	} {
		t.Run(name, func(t *testing.T) {
			home, node := hostile(t)
			stream, err := home.mux.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			var b [laneHeaderSize]byte
			c.h.put(b[:])
			stream.Write(b[:])
			lane, err := node.AcceptLane()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lane.ReadFrame(); err == nil {
				t.Fatal("frame accepted")
			}
			wantBroken(t, node, c.words)
		})
	}
}

// A frame cut short must not look like the end of the lane.
func TestCutFrame(t *testing.T) {
	home, node := hostile(t)
	stream, err := home.mux.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	var b [laneHeaderSize + 10]byte
	laneHeader{Len: 11, Seq: 1}.put(b[:])
	stream.Write(b[:])
	stream.Close()
	lane, err := node.AcceptLane()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lane.ReadFrame(); err == nil || err == io.EOF {
		t.Fatal(err)
	}
	if node.Err() != nil {
		t.Fatal(node.Err())
	}
}

func TestHostileMux(t *testing.T) {
	home, node := hostile(t)
	home.conn.Conn.Write([]byte("this is no frame of the multiplexer"))
	wantBroken(t, node, "")
}

func TestHostileRequests(t *testing.T) {
	home, node := hostile(t)
	block := make(chan struct{})
	defer close(block)
	node.ctl.onRequest["hang"] = func(ctx context.Context, _ json.RawMessage) (any, error) { <-block; return nil, nil }
	go func() {
		for home.ctl.write(&envelope{Type: "hang", Want: true}, nil) == nil {
		}
	}()
	wantBroken(t, node, "requests at once")
}

func TestHostileBulk(t *testing.T) {
	send := func(s *Session, h bulkHeader) {
		<-s.bulk.attached
		var b [bulkHeaderSize]byte
		h.put(b[:])
		s.bulk.conn.Write(b[:])
	}
	t.Run("length", func(t *testing.T) {
		home, node := hostile(t)
		send(home, bulkHeader{ID: 1, Seq: 1, Len: maxBulkFrame + 1})
		wantBroken(t, node, "limit")
	})
	t.Run("seq", func(t *testing.T) {
		home, node := hostile(t)
		send(home, bulkHeader{ID: 1, Seq: 2})
		wantBroken(t, node, "is due")
	})
	t.Run("unasked", func(t *testing.T) {
		home, node := hostile(t)
		go home.BulkSend(home.NextBulkID(), make([]byte, 3<<20))
		wantBroken(t, node, "nobody here asked")
	})
	t.Run("closed", func(t *testing.T) {
		home, node := hostile(t)
		<-home.bulk.attached
		home.bulk.raw.Close()
		wantBroken(t, node, "") // by home, which notices it too, or here
	})
}

// A ticket is good once, and for the home alone that it was given to.
func TestBulkTicket(t *testing.T) {
	home, node := hostile(t)
	<-node.bulk.attached
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	d := (&Dialer{Identity: id, Pin: home.Peer.Fingerprint}).withDefaults()
	srvAddr := home.Peer.Addr
	main, _, ans, err := d.open(t.Context(), srvAddr, opening{Kind: kindSession, Hello: Hello{Protocol: Protocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer main.Close()
	thief, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	bulk := opening{Kind: kindBulk, Ticket: ans.Ticket, Hello: Hello{Protocol: Protocol}}
	stolen := d
	stolen.Identity = thief
	var refused *RefusedError
	if _, _, _, err := stolen.open(t.Context(), srvAddr, bulk); !errors.As(err, &refused) {
		t.Fatal(err)
	}
	raw, _, _, err := d.open(t.Context(), srvAddr, bulk)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, _, _, err := d.open(t.Context(), srvAddr, bulk); !errors.As(err, &refused) {
		t.Fatal("ticket used twice:", err)
	}
}
