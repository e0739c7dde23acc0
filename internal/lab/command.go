package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookProgram finds the command as a shell does.
func lookProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) {
		err = nil // asked for by PATH itself
	}
	if err != nil {
		var e *exec.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return "", &NotRunError{Program: name, Err: err}
	}
	return path, nil
}

// runCommand runs the command in the lab's own process group, with its
// terminal, and waits for it.
func runCommand(ctx context.Context, cfg *Config, program string, env []string) (int, error) {
	stop := keepSignals()
	defer stop.stop()
	pid, err := syscall.ForkExec(program, cfg.Command, &syscall.ProcAttr{
		Env:   env,
		Files: []uintptr{cfg.Stdin.Fd(), cfg.Stdout.Fd(), cfg.Stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, &NotRunError{Program: cfg.Command[0], Err: err}
	}
	stop.forwardTo(pid)
	unwatch := context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.SIGKILL) })
	defer unwatch()
	return waitCommand(pid)
}

// waitCommand waits for the command's end. A command that moved to a process
// group of its own (an interactive shell) and stops is followed: the lab stops
// too, for its own parent to see, and continues it when it is continued.
func waitCommand(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, unix.WUNTRACED, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for the command: %w", err)
		}
		switch {
		case ws.Exited():
			return ws.ExitStatus(), nil
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case ws.Stopped():
			pgid, err := unix.Getpgid(pid)
			if err != nil || pgid == unix.Getpgrp() {
				continue // the same signal stops us, or was meant for it alone
			}
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
			_ = unix.Kill(-pgid, unix.SIGCONT)
		}
	}
}

// A signalKeeper keeps the terminal's signals from ending the lab while the
// command runs; the command gets them by itself. Those that are sent to the lab
// alone are passed on.
type signalKeeper struct {
	ch   chan os.Signal
	quit chan struct{}
}

// keptSignals are those that would end the lab and leave the command alone.
var keptSignals = []syscall.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2}

// keepSignals catches signals. A caught signal is set back to its default when
// the command is executed, and one that we found ignored stays ignored.
func keepSignals() *signalKeeper {
	k := &signalKeeper{ch: make(chan os.Signal, 16), quit: make(chan struct{})}
	for _, s := range keptSignals {
		if !signal.Ignored(s) {
			signal.Notify(k.ch, s)
		}
	}
	return k
}

func (k *signalKeeper) forwardTo(pid int) {
	go func() {
		for {
			select {
			case <-k.quit:
				return
			case s := <-k.ch:
				sig := s.(syscall.Signal)
				if (sig == unix.SIGINT || sig == unix.SIGQUIT) && inForeground() {
					continue // typed at the terminal: the command has it as well
				}
				_ = unix.Kill(pid, sig)
			}
		}
	}()
}

func (k *signalKeeper) stop() {
	signal.Stop(k.ch)
	close(k.quit)
}

// inForeground tells whether our process group is the foreground one of our terminal.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	pgrp, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}
