package lab

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	relayChunk = 256 << 10 // one read
	// relayRate bounds what a direction holds back: as much as this many bytes
	// a second fill in one delay, so that only the delay and the receiver
	// limit the speed, and a receiver that does not read is felt by the sender.
	relayRate   = 4 << 30
	relayMost   = 128 << 20
	relayLeast  = 1 << 20
	relayReuses = 16
)

// A relay accepts connections and passes them on to target, each byte one
// delay later, in each direction.
type relay struct {
	net.Listener
	target string
	delay  time.Duration

	mu    sync.Mutex
	conns map[*relayConn]struct{} // to be cut off at Close
	dead  bool
}

func startRelay(target string, delay time.Duration) (*relay, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{Listener: l, target: target, delay: delay, conns: make(map[*relayConn]struct{})}
	go r.accept()
	return r, nil
}

func (r *relay) accept() {
	for {
		in, err := r.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors, or the peer gave up
			continue
		}
		go r.serve(in)
	}
}

// Close stops listening and cuts off all connections.
func (r *relay) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = true
	for c := range r.conns {
		c.wake()
	}
	return r.Listener.Close()
}

func (r *relay) serve(in net.Conn) {
	defer in.Close()
	c, err := newRelayConn(in, r.target, r.delay)
	if err != nil {
		return
	}
	r.mu.Lock()
	dead := r.dead
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	if !dead {
		c.run()
	}
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	c.close()
}

// A relayConn is one connection, served by one thread with ppoll(2): Go's
// timers are too coarse (1 ms when idle) for a delay of 200 µs, and a hand-over
// between threads would add to it.
type relayConn struct {
	files [2]*os.File // in, out
	fds   [2]int
	stop  int // eventfd: written to end the loop
	dirs  [2]direction
}

// A direction carries bytes from fds[src] to fds[1-src].
type direction struct {
	src     int
	delay   time.Duration
	limit   int
	held    int       // bytes in queue
	queue   []parcel  // oldest first
	free    [][]byte  // buffers for reuse
	notYet  time.Time // nothing is due before
	eof     bool      // src will send no more
	done    bool      // and that has been passed on
	blocked bool      // the receiver takes no more for now
}

// A parcel is what one read gave; nil data is the end of the stream.
type parcel struct {
	due  time.Time
	data []byte
	buf  []byte // what data is a part of
}

func newRelayConn(in net.Conn, target string, delay time.Duration) (*relayConn, error) {
	began := time.Now()
	out, err := net.Dial("tcp4", target)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := &relayConn{stop: -1}
	for i, conn := range []net.Conn{in, out} {
		if c.files[i], err = conn.(*net.TCPConn).File(); err != nil {
			c.close()
			return nil, err
		}
		c.fds[i] = int(c.files[i].Fd())
		if err := unix.SetNonblock(c.fds[i], true); err != nil {
			c.close()
			return nil, err
		}
	}
	if c.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		c.close()
		return nil, err
	}
	limit := int(min(max(int64(delay.Seconds()*relayRate), relayLeast), relayMost))
	for i := range c.dirs {
		c.dirs[i] = direction{src: i, delay: delay, limit: limit}
	}
	// connect(2) itself took no time here; on a real line it takes a round trip.
	c.dirs[0].notYet = began.Add(3 * delay)
	return c, nil
}

func (c *relayConn) close() {
	for _, f := range c.files {
		if f != nil {
			f.Close()
		}
	}
	if c.stop >= 0 {
		unix.Close(c.stop)
	}
}

// wake ends run. The caller holds relay.mu, so that c is not closed meanwhile.
func (c *relayConn) wake() {
	_, _ = unix.Write(c.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// run passes data on until both directions have ended or one failed. Closing
// both sockets then is how the failure reaches the ends.
func (c *relayConn) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // default: 50 µs
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()

	for !c.dirs[0].done || !c.dirs[1].done {
		fds, timeout := c.interest(time.Now())
		if _, err := unix.Ppoll(fds[:], timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if fds[2].Revents != 0 {
			return
		}
		for i := range c.dirs {
			d := &c.dirs[i]
			if fds[d.src].Revents&(unix.POLLIN|unix.POLLHUP|unix.POLLERR) != 0 && d.mayRead() {
				if d.read(c.fds[d.src]) != nil {
					return
				}
			}
			if fds[1-d.src].Revents&(unix.POLLOUT|unix.POLLHUP|unix.POLLERR) != 0 {
				d.blocked = false
			}
			if d.write(c.fds[1-d.src], time.Now()) != nil {
				return
			}
		}
	}
}

// interest is what to wait for: input where there is room, room where there is
// something due, and the time when the next parcel is due.
func (c *relayConn) interest(now time.Time) ([3]unix.PollFd, *unix.Timespec) {
	fds := [3]unix.PollFd{{Fd: -1}, {Fd: -1}, {Fd: int32(c.stop), Events: unix.POLLIN}}
	wait := time.Duration(-1)
	for i := range c.dirs {
		d := &c.dirs[i]
		if d.mayRead() {
			fds[d.src].Fd = int32(c.fds[d.src])
			fds[d.src].Events |= unix.POLLIN
		}
		if len(d.queue) == 0 {
			continue
		}
		if d.blocked {
			fds[1-d.src].Fd = int32(c.fds[1-d.src])
			fds[1-d.src].Events |= unix.POLLOUT
		} else if left := max(d.queue[0].due.Sub(now), 0); wait < 0 || left < wait {
			wait = left
		}
	}
	if wait < 0 {
		return fds, nil
	}
	ts := unix.NsecToTimespec(int64(wait))
	return fds, &ts
}

func (d *direction) mayRead() bool { return !d.eof && d.held < d.limit }

func (d *direction) read(fd int) error {
	buf := d.buffer()
	n, err := unix.Read(fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		d.free = append(d.free, buf)
		return nil
	case err != nil:
		return err
	}
	p := parcel{due: time.Now().Add(d.delay), data: buf[:n], buf: buf}
	if n < relayChunk/8 { // many small messages must not hold many large buffers
		p.data, p.buf = append([]byte(nil), p.data...), nil
		d.free = append(d.free, buf)
	}
	if p.due.Before(d.notYet) {
		p.due = d.notYet
	}
	if n == 0 {
		d.eof, p.data = true, nil
	}
	d.held += n
	d.queue = append(d.queue, p)
	return nil
}

func (d *direction) write(fd int, now time.Time) error {
	for len(d.queue) > 0 && !d.blocked {
		p := &d.queue[0]
		if p.due.After(now) {
			return nil
		}
		if p.data == nil {
			d.done = true
			d.queue = nil
			return unix.Shutdown(fd, unix.SHUT_WR)
		}
		n, err := unix.Write(fd, p.data)
		switch {
		case errors.Is(err, unix.EAGAIN):
			d.blocked = true
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		d.held -= n
		if p.data = p.data[n:]; len(p.data) > 0 {
			continue
		}
		if p.buf != nil && len(d.free) < relayReuses {
			d.free = append(d.free, p.buf)
		}
		d.queue = d.queue[1:]
	}
	return nil
}

func (d *direction) buffer() []byte {
	if n := len(d.free); n > 0 {
		buf := d.free[n-1]
		d.free = d.free[:n-1]
		return buf
	}
	return make([]byte, relayChunk)
}
