// Package fault lets tests make a move fail at each of its phases. The code
// passes points, by name; nothing happens there unless the environment variable
// HOMING_FAULT names a directory and a test has put a file of the point's name
// into it. `homing lab` hands the directory of its own environment on to its
// nodes, whose file systems are empty: they have it as a descriptor.
//
// The file says what happens to who comes by first; it is removed before, so a
// test sees that the point was passed, and that once. After "always " it stays.
//
//	error TEXT      the step fails, with that text
//	kill            the process that passes ends at once
//	cut             the connections at hand are closed
//	wait            NAME.here is made, and the step goes on when NAME is removed
//	sleep DURATION  the step takes so much longer
//
// Points of home:
//
//	home.leave.open       home → node: the connection is there, nothing has stopped
//	home.leave.frozen     the processes stand still and are described
//	home.leave.sent       all has been sent; the destination has not been asked
//	home.leave.arrived    they stand at the destination; nothing is committed
//	home.leave.committed  they are the destination's, which does not know
//	home.across.open      node → node: the destination expects them
//	home.across.taken     the source has sent all
//	home.across.arrived   as home.leave.arrived
//	home.across.committed as home.leave.committed
//	home.bring.open       node → home: the connection is there
//	home.bring.body       the shadow is being filled
//	home.bring.taken      all has come
//	home.bring.threads    all processes that come have their threads' states
//	home.bring.done       they are home, and the node has not heard
//
// Points of a node:
//
//	node.take.begin       before anything has stopped
//	node.take.frozen      the processes stand still and are described
//	node.take.sent        all has been sent; home does not know
//	node.receive.begin    the connection of a move has come; only `cut`
//	node.receive.body     before a body is made or changed
//	node.arrive.begin     home has asked
//	node.arrive.threads   the bodies have their threads
//	node.arrive.done      home has not heard
//	node.run, node.gone, node.thaw, node.drop   before what home has ordered
//
// Points of either end of a connection: who sends, and who receives.
//
//	send.sketch           before a round while the program runs
//	send.final            before the final round of a process
//	send.serve            memory that was left behind is about to be asked for
//	receive.pages         before pages are filled in
//	pull.pages            likewise, of those that come late
//
// A file may also give a value instead of what the machine says:
//
//	cpu.hidden            features of the processor that are not there
//	memory.available      bytes
//	calls.missing         numbers of system calls that the kernel does not have
package fault

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Variable names the directory.
const Variable = "HOMING_FAULT"

var armed atomic.Pointer[points]

type points struct{ dir int }

func init() {
	dir := os.Getenv(Variable)
	if dir == "" {
		return
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return // there is nothing to arm
	}
	armed.Store(&points{fd})
	if n, err := strconv.Atoi(strings.TrimPrefix(dir, "/proc/self/fd/")); err == nil {
		unix.CloseOnExec(n) // it is for us alone
	}
}

// Point is passed at a moment of a move. conns are those that a test may cut.
func Point(name string, conns ...io.Closer) error {
	p := armed.Load()
	if p == nil {
		return nil
	}
	return p.pass(name, conns)
}

// Value is what a test says of this machine.
func Value(name string) (string, bool) {
	p := armed.Load()
	if p == nil {
		return "", false
	}
	return p.read(name)
}

// Closer makes something that a point can cut.
type Closer func()

// Close implements io.Closer.
func (c Closer) Close() error {
	c()
	return nil
}

func (p *points) read(name string) (string, bool) {
	fd, err := unix.Openat(p.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return strings.TrimSpace(string(b)), err == nil
}

func (p *points) pass(name string, conns []io.Closer) error {
	text, ok := p.read(name)
	if !ok {
		return nil
	}
	text, always := strings.CutPrefix(text, "always ")
	action, arg, _ := strings.Cut(text, " ")
	if !always && action != "wait" && unix.Unlinkat(p.dir, name, 0) != nil {
		return nil // another was first
	}
	switch action {
	case "error":
		return errors.New(arg)
	case "kill":
		unix.Exit(137) // as by SIGKILL, from which the first process of a namespace is safe
	case "cut":
		for _, c := range conns {
			_ = c.Close() // that it fails is the point
		}
	case "wait":
		p.wait(name)
	case "sleep":
		if d, err := time.ParseDuration(arg); err == nil {
			time.Sleep(d)
		}
	}
	return nil
}

// waitLimit bounds what a test that has failed leaves waiting.
const waitLimit = 20 * time.Second

func (p *points) wait(name string) {
	here := name + ".here"
	if fd, err := unix.Openat(p.dir, here, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o666); err == nil {
		unix.Close(fd)
	}
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, still := p.read(name); !still {
			break
		}
	}
	_ = unix.Unlinkat(p.dir, here, 0) // the test has, if it is not there
}
