// Package kkctest makes connected sessions for the tests of other packages.
package kkctest

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"homing/kkc"
)

// Options for [NewPair]. The zero value is good.
type Options struct {
	HomeHello, NodeHello kkc.Hello
	Limits               kkc.Limits
	Log                  *slog.Logger
	// Wrap, if set, is put around home's connections (of the session and for
	// bulk data), to delay or to break them.
	Wrap func(net.Conn) net.Conn
}

// Pair is a session seen from both of its ends. Neither is started yet.
type Pair struct {
	Home, Node *kkc.Session
	Server     *kkc.Server
	Dialer     *kkc.Dialer
	Addr       string
}

// NewPair connects two sessions over loopback; they end with the test.
func NewPair(t testing.TB, o Options) *Pair {
	t.Helper()
	nodes := make(chan *kkc.Session, 1)
	p := Serve(t, o, func(s *kkc.Session) { nodes <- s })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	home, err := p.Dialer.Dial(ctx, p.Addr)
	if err != nil {
		t.Fatalf("kkctest: %v", err)
	}
	t.Cleanup(func() { home.Close("test is over") })
	select {
	case p.Node = <-nodes:
	case <-ctx.Done():
		t.Fatal("kkctest: node did not get its session")
	}
	p.Home = home
	return p
}

// Start starts both ends, which can then have no more handlers.
func (p *Pair) Start() {
	p.Home.Start()
	p.Node.Start()
}

// Lane makes a lane, opened by home, and returns both ends.
func (p *Pair) Lane(t testing.TB) (home, node *kkc.Lane) {
	t.Helper()
	home, err := p.Home.OpenLane()
	if err == nil {
		node, err = p.Node.AcceptLane()
	}
	if err != nil {
		t.Fatalf("kkctest: %v", err)
	}
	return home, node
}

// Transfer makes a transfer connection, dialled by home, and returns both ends,
// which are closed with the test.
func (p *Pair) Transfer(t testing.TB) (home, node net.Conn) {
	t.Helper()
	e, err := p.Node.Expect(p.Dialer.Identity.Fingerprint)
	if err != nil {
		t.Fatalf("kkctest: %v", err)
	}
	if home, err = p.Home.DialTransfer(t.Context(), e.Ticket); err != nil {
		t.Fatalf("kkctest: %v", err)
	}
	if node, err = e.Accept(t.Context()); err != nil {
		t.Fatalf("kkctest: %v", err)
	}
	t.Cleanup(func() { home.Close(); node.Close() })
	return home, node
}

// Serve starts a server alone, which ends with the test, and makes a dialer that
// fits it. Home and Node are nil.
func Serve(t testing.TB, o Options, handle func(*kkc.Session)) *Pair {
	t.Helper()
	nodeID, homeID := identity(t), identity(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("kkctest: %v", err)
	}
	srv := &kkc.Server{
		Identity: nodeID,
		Hello:    func(kkc.Peer, kkc.Hello) (kkc.Hello, error) { return o.NodeHello, nil },
		Handle:   handle,
		Limits:   o.Limits,
		Log:      o.Log,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close("test is over")
		l.Close()
		<-served
	})
	d := &kkc.Dialer{Identity: homeID, Pin: nodeID.Fingerprint, Hello: o.HomeHello, Limits: o.Limits, Log: o.Log}
	if o.Wrap != nil {
		d.Net = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return o.Wrap(c), nil
		}
	}
	return &Pair{Server: srv, Dialer: d, Addr: l.Addr().String()}
}

func identity(t testing.TB) *kkc.Identity {
	t.Helper()
	id, err := kkc.NewIdentity()
	if err != nil {
		t.Fatalf("kkctest: %v", err)
	}
	return id
}
