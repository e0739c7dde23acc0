package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// The owner's socket, STATE/node.sock: one request a connection, one JSON line;
// then lines of ControlReply, of which the last has Done or Error.

// A ControlRequest is what a node's owner asks of the daemon.
type ControlRequest struct {
	Op  string        `json:"op"`            // "evict", "resume", "status"
	For time.Duration `json:"for,omitempty"` // evict: refuse guests for so long
}

// A ControlReply is one line of the answer.
type ControlReply struct {
	Progress string    `json:"progress,omitempty"`
	Evicted  *Eviction `json:"evicted,omitempty"`
	Status   *Status   `json:"status,omitempty"`
	Error    string    `json:"error,omitempty"`
	Done     bool      `json:"done,omitempty"`
}

// An Eviction is what became of a node's guests.
type Eviction struct {
	Name    string        `json:"name"`           // the node's
	Guests  int           `json:"guests"`         // that were here
	Stopped time.Duration `json:"stopped"`        // until none of them ran any more
	Gone    time.Duration `json:"gone"`           // until all that went were gone
	Left    []string      `json:"left,omitempty"` // those that could not go, and why
	Until   time.Time     `json:"until"`          // no guest is taken before
}

// Status is what a node is doing.
type Status struct {
	Name   string    `json:"name"`
	Addr   string    `json:"addr"`
	Guests []Guest   `json:"guests"`
	Until  time.Time `json:"until,omitzero"` // no guest is taken before; zero: they are
}

// A Guest is a process of a home on this node.
type Guest struct {
	PID        int     `json:"pid"`  // at home
	Home       string  `json:"home"` // what it calls itself
	Command    string  `json:"command"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

// maxControlLine bounds a request.
const maxControlLine = 64 << 10

// controlPatience is how long a client may take to ask, or to read a line.
const controlPatience = 10 * time.Second

// listenControl makes the owner's socket, or takes the one that a lab has made.
func listenControl(dir string, fd int) (net.Listener, error) {
	if fd != 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, fmt.Errorf("--control-fd %d: %w", fd, err)
		}
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), controlFile)
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("--control-fd %d: %w", fd, err)
		}
		return l, nil
	}
	if err := os.Remove(filepath.Join(dir, controlFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket that a killed daemon left: %w", err)
	}
	path, done, err := socketPath(dir, controlFile)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = os.Chmod(path, 0o600)
		l.SetUnlinkOnClose(false)
	}
	done()
	if err != nil {
		return nil, fmt.Errorf("make the owner's socket in %s: %w; give --state DIR for a directory on a local file system", dir, err)
	}
	return &controlListener{l, filepath.Join(dir, controlFile)}, nil
}

// controlListener removes its socket at its end.
type controlListener struct {
	net.Listener
	path string
}

func (l *controlListener) Close() error {
	return errors.Join(os.Remove(l.path), l.Listener.Close())
}

// socketPath is a path of a socket in dir that is short enough for unix(7), until
// done is called.
func socketPath(dir, name string) (path string, done func(), err error) {
	path = filepath.Join(dir, name)
	if len(path) < len(unix.RawSockaddrUnix{}.Path) {
		return path, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), func() { d.Close() }, nil
}

// A controller serves the owner.
type controller struct {
	d   *nodeDaemon
	l   net.Listener
	ctx context.Context // ends with the daemon
	end context.CancelFunc

	evicting sync.Mutex // one at a time
	serving  sync.WaitGroup
}

func (c *controller) serve() {
	for {
		conn, err := c.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			c.d.cfg.Log.Warn("cannot accept the owner's connection now", "err", err)
			time.Sleep(100 * time.Millisecond) // too many files
			continue
		}
		c.serving.Go(func() {
			defer conn.Close()
			c.answer(conn)
		})
	}
}

// stop ends the socket, and waits for what was asked to be answered.
func (c *controller) stop() {
	c.end()
	_ = c.l.Close()
	c.serving.Wait()
}

func (c *controller) answer(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(controlPatience))
	stop := context.AfterFunc(c.ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var req ControlRequest
	if json.NewDecoder(io.LimitReader(conn, maxControlLine)).Decode(&req) != nil {
		return
	}
	var mu sync.Mutex
	enc := json.NewEncoder(conn)
	say := func(r ControlReply) {
		mu.Lock()
		defer mu.Unlock()
		_ = conn.SetWriteDeadline(time.Now().Add(controlPatience))
		_ = enc.Encode(r) // who has gone away does not want to know
	}
	if err := c.do(req, say); err != nil {
		say(ControlReply{Error: err.Error()})
		return
	}
	say(ControlReply{Done: true})
}

func (c *controller) do(req ControlRequest, say func(ControlReply)) error {
	switch req.Op {
	case "evict":
		ev, err := c.evict(req.For, func(text string) { say(ControlReply{Progress: oneLine(text)}) })
		if err != nil {
			return err
		}
		say(ControlReply{Evicted: &ev})
	case "resume":
		c.d.cfg.Lending.Resume()
		c.d.cfg.Log.Info("lending again", "node", c.d.cfg.Name)
	case "status":
		s := Status{Name: c.d.cfg.Name, Addr: c.d.addr, Guests: c.d.cfg.Guests.Present()}
		for i := range s.Guests { // a home's and a program's own words
			s.Guests[i].Home, s.Guests[i].Command = cleanName(s.Guests[i].Home), oneLine(s.Guests[i].Command)
		}
		if until, paused := c.d.cfg.Lending.Paused(); paused {
			s.Until = until
		}
		say(ControlReply{Status: &s})
	default:
		return fmt.Errorf("request %.40q is unknown to this node: is it of another version?", req.Op)
	}
	return nil
}

// oneLine makes a foreign text fit for a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// evict sends all guests home, also if the owner does not wait for it.
func (c *controller) evict(d time.Duration, progress func(string)) (Eviction, error) {
	if d < 0 {
		return Eviction{}, fmt.Errorf("--for %v: a time in the past", d)
	}
	lending := c.d.cfg.Lending
	c.evicting.Lock()
	defer c.evicting.Unlock()
	lending.beginEviction()
	ev, err := c.d.cfg.Guests.Evict(c.ctx, progress)
	ev.Name, ev.Until = c.d.cfg.Name, lending.endEviction(d)
	for i := range ev.Left { // why is in a home's own words
		ev.Left[i] = oneLine(ev.Left[i])
	}
	log := c.d.cfg.Log.With("node", c.d.cfg.Name, "guests", ev.Guests, "stopped after", ev.Stopped, "gone after", ev.Gone, "left", ev.Left)
	if err != nil {
		log.Error("eviction failed", "err", err)
		return ev, fmt.Errorf("evict: %w", err)
	}
	log.Info("evicted", "not lending until", ev.Until)
	return ev, nil
}

// Control asks the daemon of a state directory. each gets the lines of its
// answer; the error is the daemon's own, or says why there is no answer.
func Control(ctx context.Context, dir string, req ControlRequest, each func(ControlReply)) error {
	conn, err := dialControl(ctx, dir)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return fmt.Errorf("ask the node: %w", err)
	}
	dec := json.NewDecoder(conn)
	for {
		var r ControlReply
		err := dec.Decode(&r)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("the node has ended before its answer: %w", err)
		case r.Error != "":
			return errors.New(r.Error)
		case r.Done:
			return nil
		}
		each(r)
	}
}

func dialControl(ctx context.Context, dir string) (net.Conn, error) {
	path, done, err := socketPath(dir, controlFile)
	if err == nil {
		defer done()
		var conn net.Conn
		if conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			return conn, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("no homing node runs with state directory %s: name that of the node with --state DIR", dir)
	}
	return nil, fmt.Errorf("ask the node of %s: %w", dir, err)
}
