package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/fault"
)

// maxReport bounds what is read from a node's report pipe.
const maxReport = 4 << 20

// A nodeProc is one running node as its lab sees it.
type nodeProc struct {
	name  string
	addr  string // where home reaches it
	cmd   *exec.Cmd
	log   *os.File
	from  int64 // where this node's part of the log begins
	relay io.Closer

	ready  chan struct{} // closed at the node's first line
	done   chan struct{} // closed when the process is gone and its pipe read
	stop   sync.Once
	early  error           // it ended before it was told to
	report json.RawMessage // its last line; valid after done
	exit   error           // of cmd.Wait; valid after done
}

// startNode starts one node in namespaces of its own.
func startNode(cfg *Config, site *site, board *switchboard, name string) (n *nodeProc, err error) {
	n = &nodeProc{name: name, ready: make(chan struct{}), done: make(chan struct{})}
	dir := filepath.Join(site.dir, name)
	state, err := stateDir(dir, "state")
	if err != nil {
		return nil, err
	}
	addr, sock, relay, err := listenHome(cfg.Delay)
	if err != nil {
		return nil, err
	}
	defer sock.Close()
	n.addr, n.relay = addr, relay
	defer func() {
		if err != nil && relay != nil {
			relay.Close()
		}
	}()
	if err := cfg.Trust(site.home, state, name, addr); err != nil {
		return nil, err
	}
	board.add(name, addr)
	port, err := board.port()
	if err != nil {
		return nil, err
	}
	defer port.Close()
	control, err := listenControl(dir)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	if err := n.openLog(cfg.Log, filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	pipe, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()

	n.cmd, err = nodeCommand(site.root, state, name)
	if err != nil {
		pipe.Close()
		return nil, err
	}
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.ExtraFiles = []*os.File{sock, report, port, control} // nodeListenFD and so on
	if dir := os.Getenv(fault.Variable); dir != "" {           // a test of moves that fail
		f, err := os.Open(dir)
		if err != nil {
			pipe.Close()
			return nil, err
		}
		defer f.Close()
		n.cmd.ExtraFiles = append(n.cmd.ExtraFiles, f)
		n.cmd.Env = append(n.cmd.Env, fmt.Sprintf("%s=/proc/self/fd/%d", fault.Variable, nodeFaultFD))
	}
	if err := n.cmd.Start(); err != nil {
		pipe.Close()
		return nil, explainClone(err)
	}
	go n.watch(pipe)
	return n, nil
}

// listenControl makes the socket by which the node's owner is served: outside,
// in the node's directory here, for the node's own is seen by nobody.
func listenControl(dir string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, ControlSocket)})
	if err != nil {
		return nil, fmt.Errorf("make the node's socket: %w; set TMPDIR to a place with a shorter name if that is the cause", err)
	}
	l.SetUnlinkOnClose(false) // the site is removed as a whole
	defer l.Close()
	return l.File()
}

// nodeCommand is `homing lab-node` in its namespaces.
func nodeCommand(root, state, name string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own executable: %w", err)
	}
	attr := &syscall.SysProcAttr{
		Setsid:     true, // neither the terminal's signals nor its hang-up are a node's business
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
	}
	if !hasCapability(unix.CAP_SYS_ADMIN) {
		// The node keeps the user's own number and has, once NodeMain is done, no
		// capability: as when an ordinary user starts `homing node`.
		uid, gid := ordinary(os.Geteuid()), ordinary(os.Getegid())
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getegid(), Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	}
	return &exec.Cmd{
		Path:        exe,
		Args:        []string{"homing", NodeCommand, root, state, name},
		Env:         []string{"HOME=/", "PATH=/"},
		Dir:         "/",
		SysProcAttr: attr,
	}, nil
}

// ordinary is a user's number inside: root of a container that may not mount
// is nobody's root here either.
func ordinary(id int) int {
	if id == 0 {
		return 65534
	}
	return id
}

// explainClone adds the remedy to the error of the clone(2) that starts a node.
func explainClone(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w; this kernel lets only root make namespaces: allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0) or run the lab as root", err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w; the limit of namespaces is reached: raise sysctl user.max_user_namespaces and user.max_net_namespaces", err)
	}
	return err
}

// watch reads the node's report pipe, one line when it is ready and one at its
// end, and reaps it.
func (n *nodeProc) watch(pipe *os.File) {
	r := bufio.NewReader(io.LimitReader(pipe, maxReport))
	if _, err := r.ReadBytes('\n'); err == nil {
		close(n.ready)
		line, err := r.ReadBytes('\n')
		if err == nil && json.Valid(line) {
			n.report = json.RawMessage(bytes.TrimSpace(line))
		}
	}
	_, _ = io.Copy(io.Discard, pipe) // until the last holder is gone
	pipe.Close()
	n.exit = n.cmd.Wait()
	if n.relay != nil {
		n.relay.Close()
	}
	close(n.done)
}

func (n *nodeProc) waitReady(ctx context.Context) error {
	select {
	case <-n.ready:
		return nil
	case <-n.done:
		return fmt.Errorf("%s", n.lastWords())
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("not ready after %v", startLimit)
		}
		return ctx.Err()
	}
}

// stopAll ends all nodes side by side: SIGTERM, then SIGKILL for the one that
// takes too long. It may be called more than once.
func stopAll(nodes []*nodeProc) {
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { n.stop.Do(n.end) })
	}
	wg.Wait()
}

func (n *nodeProc) end() {
	defer n.log.Close()
	select {
	case <-n.done:
		if n.exit != nil {
			n.early = n.exit
		} else {
			n.early = errors.New("exit status 0")
		}
		return
	default:
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.done:
	case <-time.After(stopLimit):
		_ = n.cmd.Process.Kill()
		<-n.done
	}
}

// openLog opens the file that takes the node's standard output and error.
func (n *nodeProc) openLog(asked, private string) error {
	path := private
	if asked != "" {
		path = asked
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the node's log: %w", err)
	}
	if st, err := f.Stat(); err == nil {
		n.from = st.Size()
	}
	n.log = f
	return nil
}

// lastWords is the last line of the node's log.
func (n *nodeProc) lastWords() string {
	const most = 4 << 10
	st, err := os.Stat(n.log.Name())
	if err != nil {
		return "(no log)"
	}
	f, err := os.Open(n.log.Name())
	if err != nil {
		return "(no log)"
	}
	defer f.Close()
	b := make([]byte, most)
	k, _ := f.ReadAt(b, max(n.from, st.Size()-most))
	text := strings.TrimSpace(string(b[:k]))
	if text == "" {
		return "(it said nothing)"
	}
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text
}

// hasCapability tells whether this thread holds a capability, see capabilities(7).
func hasCapability(c int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}
