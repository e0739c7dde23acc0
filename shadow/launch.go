package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/nsinit"
	"homing/internal/protocol"
	"homing/internal/tracer"
)

// Config says what `homing run` is to do.
type Config struct {
	Argv []string
	// Node is the execution node; empty to start at home.
	Node     string
	StateDir string // identity, jobs' sockets
	Trace    string // file of the call log, or empty
	Version  string
	// Attach is the process to adopt, with Tree its descendants too; 0: start Argv.
	Attach int
	Tree   bool
}

// ExitError carries the exit status of a failed launch: 125 homing failed,
// 126 the program is not executable, 127 it was not found (as env(1)).
type ExitError struct {
	Status int
	Err    error
}

func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// Run starts a supervisor for this process and then executes the program in
// its place. It returns only on failure, with an *ExitError. It must run on
// the process's main thread.
func Run(cfg Config) error {
	path, err := findProgram(cfg.Argv[0])
	if err != nil {
		return err
	}
	if cfg.Node != "" && privileged(os.Getpid(), path) {
		cfg.Node = "" // traced by an ordinary user it would lose its rights
	}
	sock, err := startSupervisor()
	if err != nil {
		return &ExitError{125, fmt.Errorf("start the supervisor: %w", err)}
	}
	if err := handshake(sock, cfg); err != nil {
		return &ExitError{125, err}
	}
	// The socket stays open, close-on-exec, until the program has taken over:
	// its end tells the supervisor that the launch succeeded or was given up.
	if err := nsinit.RestoreSignals(); err != nil {
		return &ExitError{125, err}
	}
	err = syscall.Exec(path, cfg.Argv, os.Environ())
	runtime.KeepAlive(sock)
	if errors.Is(err, fs.ErrNotExist) {
		return &ExitError{127, fmt.Errorf("%s: %w", path, err)}
	}
	return &ExitError{126, fmt.Errorf("%s: %w", path, err)}
}

// findProgram searches PATH as execvp(3) does.
func findProgram(name string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := os.Stat(name); err != nil {
			return "", &ExitError{127, fmt.Errorf("%s: not found", name)}
		}
		return name, nil
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/bin:/usr/bin"
	}
	var denied string
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		p := dir + "/" + name
		st, err := os.Stat(p)
		if err != nil || st.IsDir() {
			continue
		}
		if unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
		denied = p
	}
	if denied != "" {
		return "", &ExitError{126, fmt.Errorf("%s: permission denied", denied)}
	}
	return "", &ExitError{127, fmt.Errorf("%s: not found in PATH", name)}
}

// launchHello and launchReply go over the socket between launcher and supervisor.
type launchHello struct {
	PID    int
	Config Config
}

type launchReply struct {
	Supervisor int    // its pid, to be allowed to trace us (Yama)
	Ready      bool   // go ahead
	Err        string // or do not
}

// startSupervisor starts this executable again as a detached process in a
// session of its own. A constructor forks before the Go runtime starts, so the
// supervisor is no child of the program to be.
func startSupervisor() (*net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "supervisor")
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{nsinit.SupervisorName, "supervise"}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Dir = "/"
	ours := os.NewFile(uintptr(fds[0]), "launcher")
	defer ours.Close()
	if err := cmd.Run(); err != nil { // ends as soon as it has forked
		return nil, err
	}
	c, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

func handshake(sock *net.UnixConn, cfg Config) error {
	hello := launchHello{os.Getpid(), cfg}
	if cfg.Attach != 0 {
		hello.PID = cfg.Attach
	}
	if err := json.NewEncoder(sock).Encode(hello); err != nil {
		return fmt.Errorf("talk to the supervisor: %w", err)
	}
	dec := json.NewDecoder(sock)
	for {
		var r launchReply
		if err := dec.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it ended unexpectedly")
			}
			return fmt.Errorf("supervisor: %w", err)
		}
		switch {
		case r.Err != "":
			return errors.New(r.Err)
		case r.Ready:
			return nil
		case r.Supervisor != 0:
			// Fails with EINVAL where Yama is not there; then nothing is needed.
			_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(r.Supervisor), 0, 0, 0)
			if err := json.NewEncoder(sock).Encode(struct{}{}); err != nil {
				return fmt.Errorf("talk to the supervisor: %w", err)
			}
		}
	}
}

// Supervise is the detached process; its end of the socket is descriptor 3.
func Supervise() error {
	tracer.SpareProcs()
	f := os.NewFile(3, "launcher")
	if f == nil {
		return errors.New("supervise is started by `homing run` only")
	}
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return errors.New("supervise is started by `homing run` only")
	}
	defer c.Close()
	dec, enc := json.NewDecoder(c), json.NewEncoder(c)
	var hello launchHello
	if err := dec.Decode(&hello); err != nil {
		return err
	}
	log := openLog(hello.Config.StateDir, hello.PID)
	refuse := func(err error) error {
		_ = enc.Encode(launchReply{Err: err.Error()}) // the launcher may be gone
		return err
	}
	s, err := newSupervisor(hello.Config, log)
	if err != nil {
		return refuse(err)
	}
	s.root = hello.PID
	defer s.closeSites("job ended")
	var at *site
	if name := hello.Config.Node; name != "" {
		ctx, cancel := context.WithTimeout(context.Background(), reachLimit)
		at, err = s.reach(ctx, name)
		cancel()
		if err != nil {
			return refuse(err)
		}
	}
	if s.traceLog, err = openTrace(hello.Config.Trace); err != nil {
		return refuse(err)
	}
	defer s.traceLog.close()
	job, err := s.listenJob()
	if err != nil {
		return refuse(err)
	}
	defer job.Close()
	if err := enc.Encode(launchReply{Supervisor: os.Getpid()}); err != nil {
		return err
	}
	var ack struct{}
	if err := dec.Decode(&ack); err != nil {
		return err
	}
	if at == nil {
		s.adoptFamily(hello.PID, hello.Config)
	} else if err := s.seizeLauncher(hello.PID, at); err != nil {
		return refuse(err)
	}
	if err := enc.Encode(launchReply{Ready: true}); err != nil {
		return err
	}
	go s.spin.watch(&s.calls, s.ended)
	<-s.ended
	s.homing.Wait()
	s.flushNamed()
	return nil
}

// seizeLauncher attaches to the launcher, which is about to execute the program.
func (s *Supervisor) seizeLauncher(pid int, at *site) error {
	slot, err := s.arena.alloc()
	if err != nil {
		return err
	}
	p := &process{pid: pid, comm: readComm(pid), argv: readArgv(pid)}
	p.at.Store(at)
	th := &thread{tid: pid, proc: p, slot: slot}
	s.add(th)
	var seizeErr error
	if err := s.tr.Do(func() { seizeErr = linux.Seize(pid, traceOptions) }); err != nil {
		return err
	}
	if seizeErr != nil {
		return fmt.Errorf("trace process %d: %w; is another tracer attached, or does kernel.yama.ptrace_scope forbid it?", pid, seizeErr)
	}
	go s.startProgram(th, at)
	return nil
}

// startProgram waits for the program's image and sends it to the node.
func (s *Supervisor) startProgram(th *thread, at *site) {
	slot := s.arena.slot(th.slot)
	s.await(slot, 0, 0)
	th.order.Load()
	res := th.exec
	if res == nil { // the launcher failed to execute the program and has said so
		return
	}
	th.exec = nil
	if res.err != nil {
		return // it runs at home
	}
	th.proc.unsent.Store(res)
	if len(res.pages) > 0 {
		res.image.Bulk = at.sess.NextBulkID()
		go s.sendBulk(at, res.image.Bulk, res.pages)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := at.sess.Request(ctx, protocol.ProcStart, res.image, &protocol.Empty{}); err != nil {
		s.runAtHome(th.proc, fmt.Sprintf("node %s cannot take it: %v", at.name, err))
	}
}

// openLog writes what a supervisor has to say to <state>/log; HOMING_LOG=debug
// says more.
func openLog(state string, pid int) *slog.Logger {
	level := slog.LevelInfo
	if word := os.Getenv("HOMING_LOG"); word != "" {
		_ = level.UnmarshalText([]byte(word)) // a word it does not know changes nothing
	}
	f, err := os.OpenFile(filepath.Join(state, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return slog.New(slog.DiscardHandler)
	}
	_ = unix.Dup3(int(f.Fd()), 2, 0) // a panic is to be found there, too
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: level})).With("job", strconv.Itoa(pid))
}
