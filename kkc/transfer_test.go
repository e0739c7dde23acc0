package kkc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"homing/kkc"
	"homing/kkc/kkctest"
)

func expect(t *testing.T, s *kkc.Server, peer string) *kkc.Expectation {
	t.Helper()
	e, err := s.Expect(peer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Cancel)
	return e
}

func newID(t *testing.T) *kkc.Identity {
	t.Helper()
	id, err := kkc.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// other is a machine that the server does not admit as a home.
func other(t *testing.T, p *kkctest.Pair) *kkc.Dialer {
	p.Server.Hello = func(kkc.Peer, kkc.Hello) (kkc.Hello, error) { return kkc.Hello{}, errors.New("unknown") }
	d := *p.Dialer
	d.Identity = newID(t)
	return &d
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	var refused *kkc.RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("want a refusal, got %v", err)
	}
	oneLine(t, err, "valid ticket")
}

func TestTransfer(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	home, node := p.Transfer(t)
	want := make([]byte, 9<<20+1)
	rand.Read(want)
	for _, c := range []struct{ from, to net.Conn }{{home, node}, {node, home}} {
		sent := make(chan error, 1)
		go func() {
			_, err := c.from.Write(want)
			sent <- err
		}()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c.to, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("differs; %v", err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	if err := home.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	node.Write([]byte{7})
	node.Close()
	if got, err := io.ReadAll(home); err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
}

// A connection outlives neither its server nor, unaccepted, its session.
func TestTransferEndsWithServer(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{Limits: quick})
	p.Start()
	home, _ := p.Transfer(t)
	e, err := p.Node.Expect(p.Dialer.Identity.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	p.Home.Close("over")
	if _, err := e.Accept(t.Context()); !kkc.IsClean(err) {
		t.Fatal(err)
	}
	later := expect(t, p.Server, p.Dialer.Identity.Fingerprint)
	p.Server.Close("over")
	if _, err := home.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("a cut connection looks like an end: %v", err)
	}
	if _, err := later.Accept(t.Context()); !errors.Is(err, kkc.ErrServerClosed) {
		t.Fatal(err)
	}
	if _, err := p.Server.Expect(p.Dialer.Identity.Fingerprint); !errors.Is(err, kkc.ErrServerClosed) {
		t.Fatal(err)
	}
}

func TestTransferTickets(t *testing.T) {
	p := kkctest.Serve(t, kkctest.Options{Limits: quick}, func(s *kkc.Session) { s.Start() })
	node := other(t, p)
	ctx := t.Context()

	t.Run("another node", func(t *testing.T) {
		e := expect(t, p.Server, node.Identity.Fingerprint)
		c, err := kkc.DialTransfer(ctx, p.Addr, node.Identity, node.Pin, e.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := e.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if _, err := e.Accept(ctx); err == nil {
			t.Fatal("accepted twice")
		}
		_, err = node.DialTransfer(ctx, p.Addr, e.Ticket)
		wantRefused(t, err)
		if _, err := node.Dial(ctx, p.Addr); err == nil {
			t.Fatal("a node that may bring a transfer is a home")
		}
	})
	t.Run("no ticket", func(t *testing.T) {
		for _, ticket := range []string{"", "0000", string(bytes.Repeat([]byte("f"), 64))} {
			_, err := node.DialTransfer(ctx, p.Addr, ticket)
			wantRefused(t, err)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		e := expect(t, p.Server, node.Identity.Fingerprint)
		thief := *node
		thief.Identity = newID(t)
		_, err := thief.DialTransfer(ctx, p.Addr, e.Ticket)
		wantRefused(t, err)
		c, err := node.DialTransfer(ctx, p.Addr, e.Ticket)
		if err != nil {
			t.Fatal("a thief has used the ticket up:", err)
		}
		c.Close()
	})
	t.Run("wrong pin", func(t *testing.T) {
		e := expect(t, p.Server, node.Identity.Fingerprint)
		wrong := *node
		wrong.Pin = newID(t).Fingerprint
		_, err := wrong.DialTransfer(ctx, p.Addr, e.Ticket)
		var pin *kkc.PinError
		if !errors.As(err, &pin) {
			t.Fatal(err)
		}
		wrong.Pin = "nonsense"
		_, err = wrong.DialTransfer(ctx, p.Addr, e.Ticket)
		oneLine(t, err, "fingerprint")
	})
	t.Run("used by one of many", func(t *testing.T) {
		e := expect(t, p.Server, node.Identity.Fingerprint)
		got := make(chan net.Conn, 8)
		var wg sync.WaitGroup
		for range cap(got) {
			wg.Go(func() {
				if c, err := node.DialTransfer(ctx, p.Addr, e.Ticket); err == nil {
					got <- c
				}
			})
		}
		wg.Wait()
		if len(got) != 1 {
			t.Fatalf("%d connections by one ticket", len(got))
		}
		(<-got).Close()
	})
	t.Run("cancelled", func(t *testing.T) {
		e := expect(t, p.Server, node.Identity.Fingerprint)
		e.Cancel()
		_, err := node.DialTransfer(ctx, p.Addr, e.Ticket)
		wantRefused(t, err)
		if _, err := e.Accept(ctx); err == nil {
			t.Fatal("accepted")
		}
	})
	t.Run("cancelled after it came", func(t *testing.T) {
		e := expect(t, p.Server, node.Identity.Fingerprint)
		c, err := node.DialTransfer(ctx, p.Addr, e.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		e.Cancel()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		e := expect(t, p.Server, node.Identity.Fingerprint)
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := e.Accept(soon); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
	t.Run("bad key", func(t *testing.T) {
		_, err := p.Server.Expect("nonsense")
		oneLine(t, err, "fingerprint")
	})
}

func TestTransferExpires(t *testing.T) {
	limits := quick
	limits.Transfer = time.Millisecond
	p := kkctest.Serve(t, kkctest.Options{Limits: limits}, func(s *kkc.Session) { s.Start() })
	node := other(t, p)
	e := expect(t, p.Server, node.Identity.Fingerprint)
	_, err := e.Accept(t.Context())
	oneLine(t, err, "no transfer connection came")
	_, err = node.DialTransfer(t.Context(), p.Addr, e.Ticket)
	wantRefused(t, err)
}

func TestTransferGarbage(t *testing.T) {
	p := kkctest.Serve(t, kkctest.Options{Limits: quick}, func(s *kkc.Session) { s.Start() })
	node := other(t, p)
	e := expect(t, p.Server, node.Identity.Fingerprint)
	for _, garbage := range []string{"", "homing\r\n\xff\xff\xff\xff", "homing\r\n\x00\x00\x00\x02{]", "GET / HTTP/1.1\r\n\r\n"} {
		c, err := tls.Dial("tcp", p.Addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"homing"}, Certificates: []tls.Certificate{node.Identity.Cert}})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, garbage)
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %q: %v", garbage, err)
		}
		c.Close()
	}
	c, err := node.DialTransfer(t.Context(), p.Addr, e.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Silent connections take all places of a server, until their time is over.
func TestTransferServerFull(t *testing.T) {
	limits := quick
	limits.Handshakes = 2
	limits.Handshake = 100 * time.Millisecond
	p := kkctest.Serve(t, kkctest.Options{Limits: limits}, func(s *kkc.Session) { s.Start() })
	node := other(t, p)
	node.Limits.Handshake = 10 * time.Second
	for range 6 {
		c, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	e := expect(t, p.Server, node.Identity.Fingerprint)
	c, err := node.DialTransfer(t.Context(), p.Addr, e.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestTransferTooMany(t *testing.T) {
	p := kkctest.Serve(t, kkctest.Options{}, func(s *kkc.Session) { s.Start() })
	id := newID(t)
	var all []*kkc.Expectation
	for {
		e, err := p.Server.Expect(id.Fingerprint)
		if err != nil {
			oneLine(t, err, "try again")
			break
		}
		all = append(all, e)
	}
	for _, e := range all {
		e.Cancel()
	}
	expect(t, p.Server, id.Fingerprint)
}

// The other end of a session has no way to ask.
func TestTransferWrongSide(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	_, err := p.Home.Expect(p.Dialer.Pin)
	oneLine(t, err, "ask the node")
	_, err = p.Node.DialTransfer(t.Context(), "ticket")
	oneLine(t, err, "address")
}

// Close returns although the peer reads nothing.
func TestTransferClose(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{Limits: quick})
	p.Start()
	home, _ := p.Transfer(t)
	home.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		if _, err := home.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	began := time.Now()
	home.Close()
	t.Logf("closed after %v", time.Since(began))
}
