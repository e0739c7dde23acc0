package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How nodes reach each other: a node's network namespace has no way out, so it
// asks the lab, over an inherited SOCK_SEQPACKET socket, for a connection to
// another node's address, and gets a connected descriptor. The lab connects to
// the address at which home reaches that node, so what passes between two nodes
// is delayed as long as between home and a node.

// DirectFile is the file in the lab's directory that says what becomes of
// connections between nodes. It is read for each of them: a test may write it at
// any time.
//
//	yes     they are made (as without the file)
//	no      they are refused
//	NUMBER  they are made, and cut when so many bytes have passed
const DirectFile = "direct"

// dialLimit bounds how long a connection may take; all is on this machine.
const dialLimit = 10 * time.Second

const maxDialMessage = 4096

type dialRequest struct {
	ID   uint64 `json:"id"`
	Addr string `json:"addr"`
}

// dialReply comes with one descriptor, or says why not.
type dialReply struct {
	ID    uint64 `json:"id"`
	Error string `json:"error,omitempty"`
}

// A switchboard connects nodes with each other.
type switchboard struct {
	file string // DirectFile's path

	mu    sync.Mutex
	addrs map[string]string // of nodes, to their names
}

func newSwitchboard(site *site, direct string) (*switchboard, error) {
	s := &switchboard{file: filepath.Join(site.dir, DirectFile), addrs: map[string]string{}}
	if direct == "" {
		return s, nil
	}
	if _, _, err := parseDirect(direct); err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.file, []byte(direct+"\n"), 0o600)
}

// parseDirect reads the content of DirectFile; limit is 0 if there is none.
func parseDirect(text string) (allowed bool, limit int64, err error) {
	switch text = strings.TrimSpace(text); text {
	case "", "yes":
		return true, 0, nil
	case "no":
		return false, 0, nil
	}
	limit, err = strconv.ParseInt(text, 10, 64)
	if err != nil || limit <= 0 {
		return false, 0, fmt.Errorf("connections between nodes: %q: say yes, no, or after how many bytes they are to be cut", text)
	}
	return true, limit, nil
}

func (s *switchboard) add(name, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs[addr] = name
}

// port makes the socket over which one node asks, and serves it until the node
// is gone.
func (s *switchboard) port() (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket for the node: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "switchboard"), os.NewFile(uintptr(fds[1]), "switchboard")
	c, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("make a socket for the node: %w", err)
	}
	go s.serve(c.(*net.UnixConn))
	return theirs, nil
}

func (s *switchboard) serve(c *net.UnixConn) {
	defer c.Close()
	buf := make([]byte, maxDialMessage)
	for {
		n, err := c.Read(buf)
		if err != nil || n == 0 {
			return
		}
		var req dialRequest
		if json.Unmarshal(buf[:n], &req) != nil {
			return
		}
		reply := dialReply{ID: req.ID}
		f, err := s.connect(req.Addr)
		if err != nil {
			reply.Error = err.Error()
		}
		b, err := json.Marshal(reply)
		if err != nil {
			return
		}
		var rights []byte
		if f != nil {
			rights = unix.UnixRights(int(f.Fd()))
		}
		_, _, err = c.WriteMsgUnix(b, rights, nil)
		if f != nil {
			f.Close()
		}
		if err != nil {
			return
		}
	}
}

// connect makes a connection to a node's address as DirectFile says.
func (s *switchboard) connect(addr string) (*os.File, error) {
	s.mu.Lock()
	name := s.addrs[addr]
	s.mu.Unlock()
	if name == "" {
		return nil, fmt.Errorf("%.80q is no node of this lab", addr)
	}
	text, err := os.ReadFile(s.file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	allowed, limit, err := parseDirect(string(text))
	if err != nil {
		return nil, err
	}
	if !allowed {
		return nil, fmt.Errorf("this lab lets no node reach another (%s says no)", DirectFile)
	}
	conn, err := net.DialTimeout("tcp4", addr, dialLimit)
	if err != nil {
		return nil, err
	}
	if limit > 0 {
		return cutAfter(conn.(*net.TCPConn), limit)
	}
	defer conn.Close()
	return conn.(*net.TCPConn).File()
}

// cutAfter returns a socket through which conn is reached until limit bytes have
// passed in both directions together; then both ends are cut.
func cutAfter(conn *net.TCPConn, limit int64) (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		conn.Close()
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "cut"), os.NewFile(uintptr(fds[1]), "cut")
	near, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		conn.Close()
		return nil, err
	}
	left := &allowance{left: limit}
	go func() {
		var wg sync.WaitGroup
		for _, d := range [][2]net.Conn{{near, conn}, {conn, near}} {
			wg.Go(func() {
				_, err := io.Copy(d[0], &limited{d[1], left})
				if err == nil && !left.isSpent() {
					_ = d[0].(interface{ CloseWrite() error }).CloseWrite() // else it is gone
					return
				}
				near.Close()
				conn.Close()
			})
		}
		wg.Wait()
		near.Close()
		conn.Close()
	}()
	return theirs, nil
}

// An allowance is how many bytes may still pass.
type allowance struct {
	mu   sync.Mutex
	left int64
}

func (a *allowance) take(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n = int(min(int64(n), a.left))
	a.left -= int64(n)
	return n
}

func (a *allowance) isSpent() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.left == 0
}

// limited ends when its allowance is used up.
type limited struct {
	r    io.Reader
	left *allowance
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left.isSpent() {
		return 0, io.EOF
	}
	n, err := l.r.Read(p)
	if k := l.left.take(n); k < n {
		return k, io.EOF
	}
	return n, err
}

// DialerOf returns what makes connections for a node in a lab, to be used as
// net.Dialer.DialContext is; nil if fd is 0. fd is the node's end of the socket to
// the switchboard, which belongs to the dialer from now on.
func DialerOf(fd int) (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	if fd == 0 {
		return nil, nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, fmt.Errorf("socket to the lab, descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "switchboard")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("socket to the lab: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is no socket to a lab", fd)
	}
	return (&labDialer{conn: u}).dial, nil
}

type labDialer struct {
	mu   sync.Mutex // one question at a time
	conn *net.UnixConn
	id   uint64
}

func (d *labDialer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.id++
	b, err := json.Marshal(dialRequest{ID: d.id, Addr: addr})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = d.conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		_ = d.conn.SetDeadline(time.Time{})
	}()
	conn, err := d.ask(b)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return conn, err
}

func (d *labDialer) ask(request []byte) (net.Conn, error) {
	if _, err := d.conn.Write(request); err != nil {
		return nil, fmt.Errorf("ask the lab: %w", err)
	}
	buf, oob := make([]byte, maxDialMessage), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := d.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return nil, fmt.Errorf("ask the lab: %w", err)
		}
		if n == 0 {
			return nil, errors.New("the lab is gone")
		}
		conn, connErr := receivedConn(oob[:oobn])
		var reply dialReply
		if err := json.Unmarshal(buf[:n], &reply); err != nil {
			return nil, fmt.Errorf("the lab's answer: %w", err)
		}
		switch {
		case reply.ID != d.id: // to a question that was given up
			if conn != nil {
				conn.Close()
			}
			continue
		case reply.Error != "":
			return nil, errors.New(reply.Error)
		}
		return conn, connErr
	}
}

// receivedConn makes a connection of the descriptor that came with a message.
func receivedConn(oob []byte) (net.Conn, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("the lab's answer: %w", err)
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil || len(fds) != 1 {
			continue
		}
		f := os.NewFile(uintptr(fds[0]), "connection")
		defer f.Close()
		return net.FileConn(f)
	}
	return nil, errors.New("the lab's answer has no connection with it")
}
