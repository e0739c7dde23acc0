package kkc_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/kkc"
	"homing/kkc/kkctest"
)

// quick are limits for tests in which they are to be reached.
var quick = kkc.Limits{
	Handshake: 500 * time.Millisecond, Keepalive: 50 * time.Millisecond, KeepaliveTimeout: 300 * time.Millisecond,
	Bye: 200 * time.Millisecond, BulkConnect: 500 * time.Millisecond, BulkStall: 200 * time.Millisecond, BulkParked: 1 << 20,
}

func oneLine(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	if strings.Contains(text, "\n") {
		t.Errorf("more than one line: %q", text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
	t.Log(text)
}

func TestDialFailures(t *testing.T) {
	p := kkctest.Serve(t, kkctest.Options{Limits: quick}, func(s *kkc.Session) { s.Start() })
	p.Server.Version = "1.2.3"

	t.Run("wrong pin", func(t *testing.T) {
		d := *p.Dialer
		other, _ := kkc.NewIdentity()
		d.Pin = other.Fingerprint
		_, err := d.Dial(t.Context(), p.Addr)
		var pin *kkc.PinError
		if !errors.As(err, &pin) || pin.Got != p.Dialer.Pin {
			t.Fatal(err)
		}
		oneLine(t, err, p.Addr, "join it again")
	})
	t.Run("no pin", func(t *testing.T) {
		d := *p.Dialer
		d.Pin = ""
		_, err := d.Dial(t.Context(), p.Addr)
		oneLine(t, err, "fingerprint")
	})
	t.Run("other protocol", func(t *testing.T) {
		d := *p.Dialer
		d.Hello = kkc.Hello{Protocol: 99, Version: "9.9"}
		_, err := d.Dial(t.Context(), p.Addr)
		var refused *kkc.RefusedError
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		oneLine(t, err, "protocol 1 (homing 1.2.3)", "99 (homing 9.9)", "install the same version")
	})
	t.Run("unreachable", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, err = p.Dialer.Dial(t.Context(), l.Addr().String())
		var un *kkc.UnreachableError
		if !errors.As(err, &un) {
			t.Fatal(err)
		}
		oneLine(t, err, "connection refused", "homing node")
	})
	t.Run("another service", func(t *testing.T) {
		_, err := p.Dialer.Dial(t.Context(), listen(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n")
			c.Close()
		}))
		var other *kkc.NotHomingError
		if !errors.As(err, &other) {
			t.Fatal(err)
		}
		oneLine(t, err, "check the address")
	})
	t.Run("silent service", func(t *testing.T) {
		_, err := p.Dialer.Dial(t.Context(), listen(t, func(net.Conn) {}))
		var un *kkc.UnreachableError
		if !errors.As(err, &un) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		oneLine(t, err, "no answer in time")
	})
	t.Run("given up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err := p.Dialer.Dial(ctx, listen(t, func(net.Conn) {}))
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

// listen accepts connections for f, and closes them at the end of the test.
func listen(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			f(c)
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// A node's admission: secrets of tokens can be used once, homes be revoked.
func TestRefusal(t *testing.T) {
	p := kkctest.Serve(t, kkctest.Options{Limits: quick}, func(s *kkc.Session) { s.Start() })
	secret := kkc.NewSecret()
	var mu sync.Mutex
	known := map[string]bool{}
	p.Server.Hello = func(peer kkc.Peer, h kkc.Hello) (kkc.Hello, error) {
		mu.Lock()
		defer mu.Unlock()
		if h.Secret != "" && h.Secret == secret {
			secret = ""
			known[peer.Fingerprint] = true
		}
		if !known[peer.Fingerprint] {
			return kkc.Hello{}, fmt.Errorf("home %q is not known here: join again with a fresh token\n(homing node token)", h.Name)
		}
		return kkc.Hello{Name: "n1"}, nil
	}
	try := func(hello kkc.Hello) error {
		d := *p.Dialer
		d.Hello = hello
		s, err := d.Dial(t.Context(), p.Addr)
		if err != nil {
			return err
		}
		if s.RemoteHello.Name != "n1" || s.RemoteHello.Role != kkc.RoleNode || s.RemoteHello.Protocol != kkc.Protocol {
			t.Errorf("%+v", s.RemoteHello)
		}
		s.Close("tried")
		return nil
	}
	var refused *kkc.RefusedError
	if err := try(kkc.Hello{Name: "h", Secret: "wrong"}); !errors.As(err, &refused) {
		t.Fatal(err)
	} else {
		oneLine(t, err, `home "h" is not known here`)
	}
	if err := try(kkc.Hello{Name: "h"}); !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if err := try(kkc.Hello{Name: "h", Secret: secret}); err != nil {
		t.Fatal(err)
	}
	if err := try(kkc.Hello{Name: "h"}); err != nil { // known by its key now
		t.Fatal(err)
	}
	mu.Lock()
	clear(known)
	mu.Unlock()
	if err := try(kkc.Hello{Name: "h"}); !errors.As(err, &refused) { // revoked
		t.Fatal(err)
	}
}

// TestGarbage throws all kinds of things at the port; a real home still gets in.
func TestGarbage(t *testing.T) {
	nodes := make(chan *kkc.Session, 100)
	limits := quick
	limits.Handshakes = 4
	p := kkctest.Serve(t, kkctest.Options{Limits: limits}, func(s *kkc.Session) { s.Start(); nodes <- s })
	id, _ := kkc.NewIdentity()
	withKey := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{id.Cert}, NextProtos: []string{"homing"}}
	inTLS := func(config *tls.Config, text string) func(net.Conn) {
		return func(c net.Conn) {
			t := tls.Client(c, config)
			io.WriteString(t, text)
			io.Copy(io.Discard, t)
		}
	}
	random := make([]byte, 1<<16)
	rand.Read(random)
	throw := []func(net.Conn){
		func(c net.Conn) {},
		func(c net.Conn) { io.Copy(io.Discard, c) }, // silence
		func(c net.Conn) { c.Write(random) },
		func(c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); io.Copy(io.Discard, c) },
		func(c net.Conn) { c.Write([]byte{22, 3, 1, 255, 255, 1, 0}); io.Copy(io.Discard, c) },
		inTLS(&tls.Config{InsecureSkipVerify: true}, "no key"),
		inTLS(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, "old TLS"),
		inTLS(withKey, string(random)),
		inTLS(withKey, "homing\r\n\xff\xff\xff\xff"),
		inTLS(withKey, "homing\r\n\x00\x01\x00\x00"),
		inTLS(withKey, "homing\r\n\x00\x00\x00\x02{]"),
		inTLS(withKey, "homing\r\n\x00\x00\x00\x02{}"),
		inTLS(withKey, opening(`{"kind":"what","hello":{"protocol":1}}`)),
		inTLS(withKey, opening(`{"kind":"bulk","ticket":"0000","hello":{"protocol":1}}`)),
		inTLS(withKey, opening(`{"kind":"bulk","hello":{"protocol":1}}`)),
		// admitted, and then it talks nonsense, or nothing
		inTLS(withKey, opening(`{"kind":"session","hello":{"protocol":1}}`)+string(random)),
		inTLS(withKey, opening(`{"kind":"session","hello":{"protocol":1}}`)),
	}
	var wg sync.WaitGroup
	for range 3 {
		for _, f := range throw {
			wg.Go(func() {
				c, err := net.Dial("tcp", p.Addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				f(c)
			})
		}
	}
	wg.Wait()
	s, err := p.Dialer.Dial(t.Context(), p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	s.Close("still works")
	for n := 3*2 + 1; n > 0; n-- {
		select {
		case s := <-nodes:
			<-s.Done() // garbage ends a session
		case <-time.After(100 * time.Millisecond): // or it did not come so far
			n = 0
		}
	}
}

func opening(body string) string {
	return "homing\r\n" + string([]byte{0, 0, 0, byte(len(body))}) + body
}

// breakable is a connection that can break or fall silent.
type breakable struct {
	net.Conn
	net    *network
	once   sync.Once
	closed chan struct{}
}

func (c *breakable) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// network is the state of all of a pair's connections.
type network struct {
	silent atomic.Bool // nothing arrives any more, in either direction
	stuck  atomic.Bool // home reads nothing any more
	mu     sync.Mutex
	conns  []net.Conn
}

func (n *network) wrap(c net.Conn) net.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	return &breakable{Conn: c, net: n, closed: make(chan struct{})}
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.(*net.TCPConn).SetLinger(0) // reset, as when a process is killed
		c.Close()
	}
}

func (c *breakable) Read(p []byte) (int, error) {
	for {
		if c.net.stuck.Load() {
			<-c.closed
		}
		n, err := c.Conn.Read(p)
		if !c.net.silent.Load() {
			return n, err
		}
		if err != nil {
			<-c.closed // not even an end arrives
			return 0, net.ErrClosed
		}
	}
}

func (c *breakable) Write(p []byte) (int, error) {
	if c.net.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func TestPeerVanishes(t *testing.T) {
	for _, how := range []string{"reset", "silence"} {
		t.Run(how, func(t *testing.T) {
			var n network
			p := kkctest.NewPair(t, kkctest.Options{Limits: quick, Wrap: n.wrap})
			p.Start()
			home, node := p.Lane(t)
			if err := home.WriteFrame([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			node.ReadFrame()
			errs := make(chan error, 4)
			go func() { _, err := home.ReadFrame(); errs <- err }()
			go func() { _, err := node.ReadFrame(); errs <- err }()
			go func() { errs <- p.Home.BulkRecv(context.Background(), 2, make([]byte, 10)) }()
			go func() { _, err := p.Node.AcceptLane(); errs <- err }()
			time.Sleep(20 * time.Millisecond) // not needed; makes it likely that they block
			if how == "reset" {
				n.cut()
			} else {
				n.silent.Store(true)
			}
			for range cap(errs) {
				err := <-errs
				var end *kkc.EndError
				if !errors.As(err, &end) || end.Clean {
					t.Errorf("%v", err)
				}
			}
			<-p.Home.Done()
			<-p.Node.Done()
			t.Log(p.Home.Err())
			t.Log(p.Node.Err())
			if how == "silence" {
				oneLine(t, p.Home.Err(), "sign of life")
			}
		})
	}
}

// A peer that stops reading its lane holds up this lane alone; one that stops
// reading its connection is given up.
func TestSlowPeer(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{Limits: quick})
	p.Start()
	stuck, stuckNode := p.Lane(t)
	fine, fineNode := p.Lane(t)
	go echoLane(fineNode)
	written := make(chan error)
	go func() {
		stuck.WriteFrame([]byte("first"))
		for {
			if err := stuck.WriteFrame(make([]byte, 1<<20)); err != nil {
				written <- err
				return
			}
		}
	}()
	if _, err := stuckNode.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := fine.WriteFrame([]byte("quick")); err != nil {
			t.Fatal(err)
		}
		if _, err := fine.ReadFrame(); err != nil {
			t.Fatal(err)
		}
	}
	stuck.Close()
	if err := <-written; !errors.Is(err, kkc.ErrLaneClosed) {
		t.Fatal(err)
	}
	for {
		if _, err := stuckNode.ReadFrame(); err != nil {
			t.Log(err) // io.EOF only if the frame had not begun
			break
		}
	}
	stuckNode.Close()
	if p.Home.Err() != nil || p.Node.Err() != nil {
		t.Fatal(p.Home.Err(), p.Node.Err())
	}
}

// A stopped process: its connection stands, and takes no data.
func TestStoppedPeer(t *testing.T) {
	var n network
	nodes := make(chan *kkc.Session, 1)
	p := kkctest.Serve(t, kkctest.Options{Limits: quick, Wrap: n.wrap}, func(s *kkc.Session) { nodes <- s })
	p.Dialer.Limits = kkc.Limits{Bye: quick.Bye} // else home would say first that the node is silent
	var err error
	if p.Home, err = p.Dialer.Dial(t.Context(), p.Addr); err != nil {
		t.Fatal(err)
	}
	defer p.Home.Close("over")
	p.Node = <-nodes
	p.Start()
	_, node := p.Lane(t)
	go p.Home.BulkSend(1, []byte("x")) // the bulk connection is there
	if err := p.Node.BulkRecv(t.Context(), 1, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	n.stuck.Store(true)
	sent := make(chan error)
	go func() {
		for {
			if err := p.Node.BulkSend(2, make([]byte, 1<<20)); err != nil {
				sent <- err
				return
			}
		}
	}()
	go func() {
		for {
			if err := node.WriteFrame(make([]byte, 1<<20)); err != nil {
				sent <- err
				return
			}
		}
	}()
	for range 2 {
		oneLine(t, <-sent, "session broken")
	}
	oneLine(t, p.Node.Err(), "peer", "300ms")
}

func TestServerClose(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	p.Server.Close("node is shutting down")
	<-p.Home.Done()
	if err := p.Home.Err(); !kkc.IsClean(err) {
		t.Fatal(err)
	}
	oneLine(t, p.Home.Err(), "node is shutting down")
	_, err := p.Dialer.Dial(t.Context(), p.Addr)
	var un *kkc.UnreachableError
	if !errors.As(err, &un) {
		t.Fatal(err)
	}
}

// A bulk connection that is not made in time ends the session.
func TestNoBulkConnection(t *testing.T) {
	var dials atomic.Int32
	p := kkctest.Serve(t, kkctest.Options{Limits: quick}, func(s *kkc.Session) { s.Start() })
	p.Dialer.Net = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			return nil, errors.New("no second way")
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	s, err := p.Dialer.Dial(t.Context(), p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	oneLine(t, s.Err(), "no bulk connection", "no second way")
	if err := s.BulkSend(1, []byte("x")); err == nil {
		t.Fatal("sent")
	}
}

// A listener may come from a descriptor, as from systemd.
func TestInheritedListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	inherited, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	p := kkctest.Serve(t, kkctest.Options{}, func(s *kkc.Session) { s.Start() })
	go p.Server.Serve(inherited)
	s, err := p.Dialer.Dial(t.Context(), inherited.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	s.Close("done")
}
