package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A talker is a process that answers lines with lines, for as long as the suite
// runs: the worker, a shell, a lab.
type talker struct {
	what  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	errs  tail
	ended chan struct{}
}

// startTalker starts a command. It gets a process group of its own, so that all
// of it can be ended.
func startTalker(what string, env []string, argv ...string) (*talker, error) {
	t := &talker{what: what, lines: make(chan string, 16), ended: make(chan struct{})}
	t.cmd = exec.Command(argv[0], argv[1:]...)
	t.cmd.Env = env
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.cmd.Stderr = &t.errs
	t.cmd.WaitDelay = time.Second // descendants may hold its standard error
	var err error
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", what, err)
	}
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			t.lines <- s.Text()
		}
		close(t.lines)
		_ = t.cmd.Wait() // its status is nobody's business: the lines are
		close(t.ended)
	}()
	return t, nil
}

// line waits for the next line.
func (t *talker) line(ctx context.Context) (string, error) {
	select {
	case l, ok := <-t.lines:
		if !ok {
			return "", fmt.Errorf("%s ended: %s", t.what, t.errs.last())
		}
		return l, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s did not answer: %w; %s", t.what, ctx.Err(), t.errs.last())
	}
}

// ask sends a line and waits for the answer.
func (t *talker) ask(ctx context.Context, question string) (string, error) {
	if _, err := io.WriteString(t.in, question+"\n"); err != nil {
		return "", fmt.Errorf("%s: %w: %s", t.what, err, t.errs.last())
	}
	return t.line(ctx)
}

// stop ends the process: by the end of its input, then by force.
func (t *talker) stop() {
	t.in.Close()
	for _, sig := range []syscall.Signal{0, syscall.SIGTERM, syscall.SIGKILL} {
		if sig != 0 {
			_ = syscall.Kill(-t.cmd.Process.Pid, sig) // ESRCH: gone
		}
		limit := time.After(10 * time.Second)
	wait:
		for {
			select {
			case <-t.ended:
				return
			case _, ok := <-t.lines: // so that the reader is not held up
				if !ok {
					t.lines = nil
				}
			case <-limit:
				break wait
			}
		}
	}
}

// nanoseconds asks the worker and reads the time that it answers with.
func (t *talker) nanoseconds(ctx context.Context, question string) (float64, error) {
	answer, err := t.ask(ctx, question)
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseFloat(answer, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %s", t.what, answer)
	}
	return ns, nil
}

// usage is what a command took, in milliseconds.
type usage struct{ wall, cpu float64 } // cpu: its own and that of the children it waited for

// runCommand runs a command to its end and returns what it wrote and what it
// took. A command that outlives ctx is killed with its process group.
func runCommand(ctx context.Context, env []string, argv ...string) (string, usage, error) {
	var out bytes.Buffer
	var errs tail
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", usage{}, fmt.Errorf("%w: %s", err, errs.last())
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return out.String(), usage{float64(took.Nanoseconds()) / 1e6, float64(cpu.Nanoseconds()) / 1e6}, nil
}

// startLab starts a lab with two nodes that lives until the talker is stopped; it
// returns the environment for commands that are to use it.
func startLab(ctx context.Context, homing string, flags ...string) (*talker, []string, error) {
	argv := append([]string{homing, "lab", "--nodes", "2"}, flags...)
	argv = append(argv, "--", "/bin/sh", "-c", `echo "$HOMING_STATE"; exec cat >/dev/null`)
	t, err := startTalker("lab", os.Environ(), argv...)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	state, err := t.line(ctx)
	if err == nil && state == "" {
		err = errors.New("lab gave no state directory")
	}
	if err != nil {
		t.stop()
		return nil, nil, err
	}
	return t, append(os.Environ(), "HOMING_STATE="+state), nil
}

// tail keeps the end of what a process says on its standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf); n > 4096 {
		t.buf = append(t.buf[:0], t.buf[n-4096:]...)
	}
	return len(p), nil
}

func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.buf))
	if text == "" {
		return "it said nothing"
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}
