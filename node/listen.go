package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// DefaultListen is where a node listens unless it is told: 4663 spells HOME on
// a telephone's keys.
const DefaultListen = ":4663"

// listen opens the port at which homes reach this node, or takes the socket
// which was passed by socket activation.
func listen(addr string) (net.Listener, error) {
	if addr == "fd" {
		ls, err := activation.Listeners()
		if err != nil {
			return nil, fmt.Errorf("--listen fd: %w", err)
		}
		if len(ls) != 1 || ls[0] == nil {
			return nil, errNoSocket
		}
		return ls[0], nil
	}
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: address already in use: another homing node, or another program, has this port; stop it or choose another with --listen", addr)
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("listen on %s: permission denied: ports below 1024 are root's; choose another with --listen", addr)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine has no such address; see `ip addr`, or leave the host out: --listen :PORT", addr)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w; write --listen HOST:PORT or :PORT", addr, err)
	}
	return l, nil
}

// reachableAddr is the address to be written into join tokens: for a socket
// that listens at all addresses, the one that this machine uses towards others.
func reachableAddr(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	host := "127.0.0.1"
	// No packet is sent: connect(2) of a datagram socket only chooses a route.
	if c, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		host = c.LocalAddr().(*net.UDPAddr).IP.String()
		c.Close()
	} else if name, err := os.Hostname(); err == nil {
		host = name
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// A countingListener counts what its connections carry.
type countingListener struct {
	net.Listener
	traffic
}

type traffic struct{ in, out atomic.Uint64 }

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: c, traffic: &l.traffic}, nil
}

type countingConn struct {
	net.Conn
	*traffic
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(uint64(n))
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(uint64(n))
	return n, err
}
