package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probeName is the argv[0] of a probing child.
const probeName = "homing-doctor"

// childLimit is how long a child may take.
const childLimit = 5 * time.Second

// Children, by the argument that names them.
const (
	podChild     = "pod"     // in namespaces of its own
	seccompChild = "seccomp" // installs a filter
	victimChild  = "victim"  // waits to be traced
	tracerChild  = "tracer"  // traces the victim, its sibling
	clockChild   = "clock"   // says what time it is, inside a time namespace
)

// A finding is what a probe saw.
type finding struct {
	OK   bool
	Text string
}

func found(format string, args ...any) finding { return finding{true, fmt.Sprintf(format, args...)} }

// result turns a probe's error into a finding.
func result(err error, good string) finding {
	if err != nil {
		return finding{false, err.Error()}
	}
	return finding{true, good}
}

// findings holds what each child reported.
type findings struct{ children map[string]map[string]finding }

// fromChild takes one finding of a child.
func fromChild(child, name string) func(*findings) finding {
	return func(f *findings) finding {
		if got, ok := f.children[child][name]; ok {
			return got
		}
		if got, ok := f.children[child][""]; ok {
			return got // why there is none
		}
		return finding{false, "not tried: an earlier step failed"}
	}
}

func fromTracer(name string) func(*findings) finding { return fromChild(tracerChild, name) }

// gather runs all children.
func gather(ctx context.Context) *findings {
	f := &findings{children: map[string]map[string]finding{}}
	f.children[podChild] = runChild(ctx, podAttr(), podChild)
	f.children[seccompChild] = runChild(ctx, plainAttr(), seccompChild)
	f.children[tracerChild] = runTracer(ctx)
	return f
}

func plainAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// podAttr makes the namespaces of a pod, in which root is an ordinary user's
// number.
func podAttr() *syscall.SysProcAttr {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = nobody, nobody
	}
	a := plainAttr()
	a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	a.Credential = &syscall.Credential{NoSetGroups: true}
	return a
}

const nobody = 65534

func childCommand(ctx context.Context, attr *syscall.SysProcAttr, args ...string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Args = append([]string{probeName}, args...)
	cmd.Env = []string{}
	cmd.SysProcAttr = attr
	cmd.WaitDelay = time.Second
	return cmd, nil
}

// runChild returns a child's findings, or under the empty name why there are none.
func runChild(ctx context.Context, attr *syscall.SysProcAttr, args ...string) map[string]finding {
	got, err := tryChild(ctx, attr, args...)
	if err != nil {
		return map[string]finding{"": {false, err.Error()}}
	}
	return got
}

func tryChild(ctx context.Context, attr *syscall.SysProcAttr, args ...string) (map[string]finding, error) {
	ctx, cancel := context.WithTimeout(ctx, childLimit)
	defer cancel()
	cmd, err := childCommand(ctx, attr, args...)
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no answer within %v", childLimit)
	}
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // fork/exec PATH: says nothing
		}
		last := strings.TrimSpace(stderr.String())
		return nil, errors.New(strings.TrimSuffix(err.Error()+": "+last, ": "))
	}
	var got map[string]finding
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	return got, nil
}

// runTracer starts a victim and then its sibling that traces it, for that is
// how a supervisor stands to the programs it seizes.
func runTracer(ctx context.Context) map[string]finding {
	failed := func(err error) map[string]finding { return map[string]finding{"": {false, err.Error()}} }
	ctx, cancel := context.WithTimeout(ctx, childLimit)
	defer cancel()
	victim, err := childCommand(ctx, plainAttr(), victimChild)
	if err != nil {
		return failed(err)
	}
	in, err := victim.StdinPipe()
	if err != nil {
		return failed(err)
	}
	out, err := victim.StdoutPipe()
	if err != nil {
		return failed(err)
	}
	if err := victim.Start(); err != nil {
		return failed(err)
	}
	defer func() {
		in.Close() // which ends it
		_ = victim.Wait()
	}()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return failed(fmt.Errorf("start a process to trace: %w", err))
	}
	return runChild(ctx, plainAttr(), tracerChild, strconv.Itoa(victim.Process.Pid), strings.TrimSpace(addr))
}

// MaybeProbe becomes a probing child if this process was started as one. It must
// be called first thing in main, on the main thread.
func MaybeProbe() {
	if len(os.Args) < 2 || os.Args[0] != probeName {
		return
	}
	var err error
	switch os.Args[1] {
	case podChild:
		err = answer(probePod())
	case seccompChild:
		err = answer(probeSeccomp())
	case victimChild:
		err = playVictim()
	case tracerChild:
		err = answer(probeTrace(os.Args[2:]))
	case clockChild:
		err = sayClock()
	default:
		err = fmt.Errorf("unknown probe %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func answer(got map[string]finding) error { return json.NewEncoder(os.Stdout).Encode(got) }

// playVictim lets anybody trace it, says where a known word is, and waits for
// the end of its input.
func playVictim() error {
	// Yama, ptrace_scope 1; EINVAL where there is no Yama. See PR_SET_PTRACER(2const).
	_ = unix.Prctl(unix.PR_SET_PTRACER, unix.PR_SET_PTRACER_ANY, 0, 0, 0)
	fmt.Println(victimWordAddr())
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
