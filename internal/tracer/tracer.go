// Package tracer runs ptrace from one operating-system thread.
//
// ptrace(2) binds a tracee to the thread that attached to it, so all requests
// for a job, or for a pod, go through one locked goroutine:
//
//  1. It blocks in wait4 for its own tracees only and hands each event to a
//     Handler.
//  2. Others reach it with Post or Do; a signal without SA_RESTART (linux.Kick)
//     gets it out of wait4.
//  3. While it drives one tracee through a batch of injected calls (Inject) it
//     waits for that tracee alone, bounded by a watchdog which kills the
//     tracee; events of the others stay queued in the kernel meanwhile.
//
// The thread never touches the network. Lock order: Tracer.mu is a leaf.
package tracer

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// Handler is told of each change of state of a tracee, on the tracer's thread.
type Handler interface {
	// Event reports a stop or the end of thread tid; ru is its resource use,
	// meaningful at its end.
	Event(tid int, ws unix.WaitStatus, ru *unix.Rusage)
}

// ErrClosed is returned by Do after Close.
var ErrClosed = errors.New("tracer is closed")

// Tracer is the locked thread. Make it with New.
type Tracer struct {
	handler Handler
	log     *slog.Logger
	tid     int

	mu     sync.Mutex
	queue  []func()
	closed bool
	wake   chan struct{} // buffered: used while there are no tracees
	done   chan struct{}
	timer  *time.Timer

	stash   []stashed // the thread's own
	waiting atomic.Bool
	pending atomic.Bool
}

// New starts the thread.
func New(h Handler, log *slog.Logger) (*Tracer, error) {
	if err := linux.InitKick(); err != nil {
		return nil, err
	}
	t := &Tracer{handler: h, log: log, wake: make(chan struct{}, 1), done: make(chan struct{})}
	t.timer = time.AfterFunc(time.Hour, t.kick)
	t.timer.Stop()
	started := make(chan struct{})
	go t.run(started)
	<-started
	return t, nil
}

// Post runs f soon on the tracer's thread. It reports false after Close.
func (t *Tracer) Post(f func()) bool {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return false
	}
	t.queue = append(t.queue, f)
	t.pending.Store(true)
	t.mu.Unlock()
	t.kick()
	return true
}

// Do runs f on the tracer's thread and waits for it.
func (t *Tracer) Do(f func()) error {
	done := make(chan struct{})
	if !t.Post(func() { defer close(done); f() }) {
		return ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-t.done:
		select {
		case <-done:
			return nil
		default:
			return ErrClosed
		}
	}
}

// Close ends the thread once the commands posted before it have run. Tracees
// left are released by the kernel according to their PTRACE_O_EXITKILL.
func (t *Tracer) Close() {
	t.mu.Lock()
	t.closed = true
	t.pending.Store(true)
	t.mu.Unlock()
	t.kick()
}

// Done is closed when the thread has ended.
func (t *Tracer) Done() <-chan struct{} { return t.done }

// watchdog bounds the wait for one tracee: all that is done in it is short. A
// tracee that does not come back is killed.
const watchdog = 10 * time.Second

// lookAgain is how long a wait for one tracee lasts before it is looked whether
// there is anything to wait for.
const lookAgain = 20 * time.Millisecond

// Wait waits for the next stop of one tracee; only the tracer's thread may call
// it. If the tracee ends instead, the Handler is told before Wait returns an
// *EndedError. The kernel reports the end of a thread group's leader, and of a
// pid namespace's first process, only after that of all the others: if it takes
// long, the ends of others are taken as well, and their stops put by.
func (t *Tracer) Wait(tid int) (unix.WaitStatus, error) { return t.wait(tid, watchdog, true) }

// ErrSlow is returned by WaitFor if a tracee has not changed its state in time.
var ErrSlow = errors.New("thread does not stop (it may be in an uninterruptible system call)")

// WaitFor is Wait for a tracee that must not come to harm: after limit it gives up.
func (t *Tracer) WaitFor(tid int, limit time.Duration) (unix.WaitStatus, error) {
	return t.wait(tid, limit, false)
}

func (t *Tracer) wait(tid int, limit time.Duration, deadly bool) (unix.WaitStatus, error) {
	if ws, ok := t.unstash(tid); ok {
		return ws, nil
	}
	self, start := unix.Gettid(), time.Now()
	var over atomic.Bool
	var again *time.Timer
	set := make(chan struct{}) // again is set: on a busy machine it may fire before
	again = time.AfterFunc(lookAgain, func() {
		if <-set; !over.Load() {
			linux.Kick(self)
			again.Reset(lookAgain)
		}
	})
	close(set)
	defer func() {
		over.Store(true)
		again.Stop()
	}()
	from, options := tid, 0
	for {
		var ws unix.WaitStatus
		var ru unix.Rusage
		got, err := linux.Wait(from, &ws, options, &ru)
		switch {
		case err == unix.EINTR:
			from, options = -1, unix.WNOHANG // look at the others
			switch slow := time.Since(start) > limit; {
			case slow && deadly:
				_ = unix.Kill(tid, unix.SIGKILL) // ESRCH: it has ended
			case slow:
				return 0, ErrSlow
			}
		case err != nil:
			return 0, fmt.Errorf("wait for thread %d: %w", tid, err)
		case got == 0:
			from, options = tid, 0
		case ws.Exited() || ws.Signaled():
			t.dropStash(got)
			t.handler.Event(got, ws, &ru)
			if got == tid {
				return 0, &EndedError{TID: tid, Status: ws}
			}
		case got == tid:
			return ws, nil
		default:
			t.stash = append(t.stash, stashed{got, ws})
		}
	}
}

// stashed is a stop that was seen while another tracee was waited for.
type stashed struct {
	tid int
	ws  unix.WaitStatus
}

// unstash takes the first stop of a tracee that was put by.
func (t *Tracer) unstash(tid int) (unix.WaitStatus, bool) {
	for i, s := range t.stash {
		if s.tid == tid {
			t.stash = slices.Delete(t.stash, i, i+1)
			return s.ws, true
		}
	}
	return 0, false
}

func (t *Tracer) dropStash(tid int) {
	t.stash = slices.DeleteFunc(t.stash, func(s stashed) bool { return s.tid == tid })
}

func (t *Tracer) kick() {
	if !t.pending.Load() {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	if t.waiting.Load() {
		linux.Kick(t.tid)
		// The signal may have come just before wait4 was entered.
		t.timer.Reset(200 * time.Microsecond)
	}
}

func (t *Tracer) drain() (closed bool) {
	for {
		t.mu.Lock()
		q := t.queue
		t.queue = nil
		closed = t.closed
		t.pending.Store(false)
		t.mu.Unlock()
		if len(q) == 0 {
			return closed
		}
		for _, f := range q {
			f()
		}
	}
}

func (t *Tracer) run(started chan struct{}) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and with it its attachments
	defer close(t.done)
	t.tid = unix.Gettid()
	close(started)
	var ru unix.Rusage
	for {
		t.waiting.Store(true)
		if t.drain() {
			return
		}
		if t.pending.Load() {
			continue
		}
		if len(t.stash) > 0 {
			s := t.stash[0]
			t.stash = slices.Delete(t.stash, 0, 1)
			t.handler.Event(s.tid, s.ws, &ru)
			continue
		}
		var ws unix.WaitStatus
		tid, err := linux.Wait(-1, &ws, 0, &ru)
		t.waiting.Store(false)
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD:
			<-t.wake
		case err != nil:
			t.log.Error("wait4 failed", "err", err)
			<-t.wake
		default:
			if ws.Exited() || ws.Signaled() {
				t.dropStash(tid)
			}
			t.handler.Event(tid, ws, &ru)
		}
	}
}
