package kkc_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"homing/kkc"
	"homing/kkc/kkctest"
)

// BenchmarkLaneEcho is a round trip of a 64-byte frame on a lane.
func BenchmarkLaneEcho(b *testing.B) {
	home, node := lanes(b, kkctest.Options{})
	go echoLane(node)
	msg := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if err := home.WriteFrame(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := home.ReadFrame(); err != nil {
			b.Fatal(err)
		}
	}
}

func echoLane(l *kkc.Lane) {
	defer l.Close()
	for {
		f, err := l.ReadFrame()
		if err != nil || l.WriteFrame(f) != nil {
			return
		}
	}
}

func lanes(t testing.TB, o kkctest.Options) (home, node *kkc.Lane) {
	t.Helper()
	p := kkctest.NewPair(t, o)
	p.Start()
	return p.Lane(t)
}

// BenchmarkTLSEcho is what the lane is measured against: the same bytes with
// nothing but TLS.
func BenchmarkTLSEcho(b *testing.B) {
	home, node := tlsPair(b)
	go io.CopyBuffer(struct{ io.Writer }{node}, struct{ io.Reader }{node}, make([]byte, 4096))
	msg, back := make([]byte, 100), make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := home.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(home, back); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTCPEcho is the floor below that.
func BenchmarkTCPEcho(b *testing.B) {
	home, node := tcpPair(b)
	go io.CopyBuffer(struct{ io.Writer }{node}, struct{ io.Reader }{node}, make([]byte, 4096))
	msg, back := make([]byte, 100), make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := home.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(home, back); err != nil {
			b.Fatal(err)
		}
	}
}

const benchBulk = 4 << 20

// BenchmarkBulk is one transfer of 4 MiB.
func BenchmarkBulk(b *testing.B) {
	p := kkctest.NewPair(b, kkctest.Options{})
	id := p.Home.NextBulkID()
	msg, back := make([]byte, benchBulk), make([]byte, benchBulk)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p.Home.BulkSend(id, msg) == nil {
		}
	}()
	b.SetBytes(benchBulk)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Node.BulkRecv(b.Context(), id, back); err != nil {
			b.Fatal(err)
		}
	}
	p.Node.Close("measured")
	<-done
}

// BenchmarkBulkPages is the same, sent as pages.
func BenchmarkBulkPages(b *testing.B) {
	p := kkctest.NewPair(b, kkctest.Options{})
	id := p.Home.NextBulkID()
	msg, back := make([]byte, benchBulk), make([]byte, benchBulk)
	var pages [][]byte
	for i := 0; i < len(msg); i += 4096 {
		pages = append(pages, msg[i:i+4096])
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p.Home.BulkSend(id, pages...) == nil {
		}
	}()
	b.SetBytes(benchBulk)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Node.BulkRecv(b.Context(), id, back); err != nil {
			b.Fatal(err)
		}
	}
	p.Node.Close("measured")
	<-done
}

// BenchmarkTransfer is the same on a transfer connection.
func BenchmarkTransfer(b *testing.B) {
	home, node := kkctest.NewPair(b, kkctest.Options{}).Transfer(b)
	streamBulk(b, home, node)
	node.Close()
}

// BenchmarkTLSBulk is what bulk transfers are measured against.
func BenchmarkTLSBulk(b *testing.B) {
	home, node := tlsPair(b)
	streamBulk(b, home, node)
}

// streamBulk reads at node, 4 MiB at a time, what home writes.
func streamBulk(b *testing.B, home, node net.Conn) {
	msg, back := make([]byte, benchBulk), make([]byte, benchBulk)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := home.Write(msg); err != nil {
				return
			}
		}
	}()
	b.SetBytes(benchBulk)
	for b.Loop() {
		if _, err := io.ReadFull(node, back); err != nil {
			b.Fatal(err)
		}
	}
	home.(interface{ NetConn() net.Conn }).NetConn().Close()
	<-done
}

// BenchmarkDial is a whole session: made, and ended with a bye.
func BenchmarkDial(b *testing.B) {
	p := kkctest.Serve(b, kkctest.Options{}, func(s *kkc.Session) { s.Start() })
	for b.Loop() {
		s, err := p.Dialer.Dial(b.Context(), p.Addr)
		if err != nil {
			b.Fatal(err)
		}
		s.Start()
		s.Close("measured")
	}
}

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func tlsPair(t testing.TB) (client, server *tls.Conn) {
	t.Helper()
	a, b := tcpPair(t)
	id, err := kkc.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{id.Cert}, InsecureSkipVerify: true, DynamicRecordSizingDisabled: true, SessionTicketsDisabled: true}
	client, server = tls.Client(a, config), tls.Server(b, config)
	failed := make(chan error, 1)
	go func() { failed <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return client, server
}
