package oracle

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
)

// markVar is in the environment of every program of a run, so that what is left of it can be found.
const markVar = "ORACLE_MARK"

func newMark() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// A Run is one performance of a case, native or away. Its methods end the run on failure.
type Run struct {
	Place Place
	User  User
	Dir   string // working directory of all programs

	c      Case
	mark   string
	res    *Result
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	started []*Process
	closers []func()
}

func newRun(p Place, u User, c Case, dir, mark string) *Run {
	d := c.Timeout
	if d == 0 {
		d = DefaultTimeout
	}
	if p.Lab != nil {
		d = d * 3 / 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	return &Run{Place: p, User: u, Dir: dir, c: c, mark: mark, res: &Result{}, ctx: ctx, cancel: cancel}
}

// runFailure is how the methods of a Run end it.
type runFailure struct{ err error }

// Fatalf ends the run with an error.
func (r *Run) Fatalf(format string, args ...any) {
	panic(runFailure{fmt.Errorf(format, args...)})
}

// Check ends the run if err is not nil.
func (r *Run) Check(err error) {
	if err != nil {
		panic(runFailure{err})
	}
}

// do performs the case's body, bounded by its time.
func (r *Run) do() error {
	body := r.c.Body
	if body == nil {
		body = func(r *Run) { r.Start(r.c.Argv...).Input(r.c.Stdin).Finish("") }
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			switch f := recover().(type) {
			case nil:
				done <- nil
			case runFailure:
				done <- f.err
			default:
				done <- fmt.Errorf("panic: %v\n%s", f, debug.Stack())
			}
		}()
		body(r)
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w\n%s", err, r.soFar())
		}
		return nil
	case <-r.ctx.Done():
		step := error(nil) // which step of the body found the time over
		select {
		case step = <-done:
		case <-time.After(200 * time.Millisecond):
		}
		err := fmt.Errorf("not done in time: %v\n%s%s", step, r.diagnose(), r.soFar())
		r.killAll()
		if step != nil {
			return err
		}
		select {
		case <-done:
		case <-time.After(2 * time.Second):
		}
		return err
	}
}

// soFar is what the programs have written, for a failure message.
func (r *Run) soFar() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, p := range r.started {
		fmt.Fprintf(&b, "--- %s\n%s", strings.Join(p.argv, " "), clip(p.out.String()+p.err.String()))
	}
	return b.String()
}

// end kills what is left and frees what the run holds.
func (r *Run) end() {
	r.killAll()
	for i := len(r.closers) - 1; i >= 0; i-- {
		r.closers[i]()
	}
	r.cancel()
}

func (r *Run) killAll() {
	r.mu.Lock()
	for _, p := range r.started {
		if p.cmd.Process != nil {
			_ = p.cmd.Process.Kill()
		}
	}
	r.mu.Unlock()
	for _, pid := range marked(r.mark) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Record adds a text to what is compared.
func (r *Run) Record(name, text string) {
	if r.c.Normalise != nil {
		text = r.c.Normalise(text)
	}
	r.res.Texts = append(r.res.Texts, Text{name, text})
}

// environment is small and fixed: what the tester's shell exports must not decide a test.
func (r *Run) environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + r.Dir, "USER=" + r.User.Name,
		"LANG=C.UTF-8", "TZ=UTC", "TERM=vt100", "SHELL=/bin/sh", "TMPDIR=" + r.Dir, markVar + "=" + r.mark,
	}
	if r.Place.Lab != nil {
		env = append(env, "HOMING_STATE="+r.Place.Lab.State)
	} else {
		env = append(env, "HOMING_STATE=/nonexistent")
	}
	return append(env, r.c.Env...)
}

// A Process is one program of a run.
type Process struct {
	r    *Run
	argv []string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *lockedBuffer
	err  *lockedBuffer
	done chan struct{}
	werr error
}

// Start starts a program where the run computes: natively, or away.
func (r *Run) Start(argv ...string) *Process { return r.start(r.Place, argv) }

// StartHome starts a program natively in both runs: a peer or a tool of the test.
func (r *Run) StartHome(argv ...string) *Process { return r.start(Place{}, argv) }

func (r *Run) command(place Place, argv []string) *exec.Cmd {
	full := place.argv(argv)
	cmd := exec.Command(full[0], full[1:]...)
	cmd.Dir = r.Dir
	cmd.Env = r.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: r.User.credential()}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (r *Run) start(place Place, argv []string) *Process {
	p := &Process{r: r, argv: argv, cmd: r.command(place, argv), out: &lockedBuffer{}, err: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	in, err := p.cmd.StdinPipe()
	r.Check(err)
	p.in = in
	r.launch(p)
	return p
}

// launch starts the process and waits for it in the background.
func (r *Run) launch(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := p.cmd.Start(); err != nil {
		panic(runFailure{fmt.Errorf("start %s: %w", p.argv[0], err)})
	}
	r.started = append(r.started, p)
	go func() {
		p.werr = p.cmd.Wait()
		close(p.done)
	}()
}

// Pid is the process's number, the same native and away: a program away keeps the one its parent knows.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Input writes text to the program's standard input and closes it.
func (p *Process) Input(text string) *Process {
	go func() {
		_, _ = io.WriteString(p.in, text)
		_ = p.in.Close()
	}()
	return p
}

// Write writes to the program's standard input.
func (p *Process) Write(text string) *Process {
	if _, err := io.WriteString(p.in, text); err != nil {
		p.r.Fatalf("write to %s: %w", p.argv[0], err)
	}
	return p
}

// Await waits until the program's standard output contains text.
func (p *Process) Await(text string) *Process {
	for !strings.Contains(p.out.String(), text) {
		select {
		case <-p.done:
			if strings.Contains(p.out.String(), text) {
				return p
			}
			p.r.Fatalf("%s ended (%s) without writing %q", p.argv[0], p.status(), text)
		case <-p.r.ctx.Done():
			p.r.Fatalf("%s did not write %q in time", p.argv[0], text)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return p
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) *Process {
	p.r.Check(p.cmd.Process.Signal(s))
	return p
}

// Wait waits for the program's end and tells how it ended.
func (p *Process) Wait() string {
	select {
	case <-p.done:
	case <-p.r.ctx.Done():
		p.r.Fatalf("%s did not end in time", p.argv[0])
	}
	if errors.Is(p.werr, exec.ErrWaitDelay) {
		p.r.Fatalf("%s ended, but its output was held open by something it left behind", p.argv[0])
	}
	return p.status()
}

func (p *Process) status() string {
	if p.cmd.ProcessState == nil {
		return "no status"
	}
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return p.cmd.ProcessState.String()
	case ws.Signaled() && ws.CoreDump():
		return fmt.Sprintf("signal %d (core dumped)", ws.Signal())
	case ws.Signaled():
		return fmt.Sprintf("signal %d", ws.Signal())
	default:
		return fmt.Sprintf("exit %d", ws.ExitStatus())
	}
}

// Finish waits for the end and records output, error output and status, each under a name that begins with prefix.
func (p *Process) Finish(prefix string) {
	status := p.Wait()
	p.r.Record(prefix+"stdout", p.out.String())
	p.r.Record(prefix+"stderr", p.err.String())
	p.r.Record(prefix+"status", status)
	p.r.res.User += p.cmd.ProcessState.UserTime()
}

// Stdout is what the program has written so far.
func (p *Process) Stdout() string { return p.out.String() }

// Stderr is what the program has written to its standard error so far.
func (p *Process) Stderr() string { return p.err.String() }

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Kill sends a signal by number.
func (p *Process) Kill(sig int) error { return syscall.Kill(p.Pid(), syscall.Signal(sig)) }
