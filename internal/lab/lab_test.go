package lab

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// The test binary plays all the parts: the lab, its nodes, and the client that
// the lab's command is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case NodeCommand:
			fatal(NodeMain(os.Args[2:]))
		case "node":
			fatal(fakeNode())
		case "test-lab":
			os.Exit(labMain(os.Args[2]))
		case "test-echo":
			fatal(echoClient(os.Args[2]))
		case "test-across":
			fatal(acrossClient(os.Args[2], os.Args[3]))
		}
	}
	dir, err := staticSelf()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// self is this test as a program that runs in an empty root, as homing does.
var self string

// staticSelf builds the test again, without C, unless it needs no interpreter.
func staticSelf() (dir string, err error) {
	if self, err = os.Executable(); err != nil {
		return "", err
	}
	f, err := elf.Open(self)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if f.Section(".interp") == nil {
		return "", nil
	}
	if dir, err = os.MkdirTemp("", "homing-test-"); err != nil {
		return "", err
	}
	self = filepath.Join(dir, "lab.test")
	build := exec.Command("go", "test", "-c", "-o", self, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build a static test: %w\n%s", err, out)
	}
	return dir, nil
}

func init() { runtime.LockOSThread() } // as main does, see doc.go

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(0)
}

// facts is what a fake node reports about the place it finds itself in.
type facts struct {
	Name       string   `json:"name"`
	PID        int      `json:"pid"`
	Host       string   `json:"host"`
	Root       []string `json:"root"`
	Interfaces []string `json:"interfaces"`
	Mounts     []string `json:"mounts"`
	Processes  []string `json:"processes"`
	FDs        []string `json:"fds"`
	Listen     string   `json:"listen"`
	State      string   `json:"state"`
	Control    string   `json:"control"`
	Caps       string   `json:"caps"` // effective; not compared for root
}

func fakeNode() error {
	f := facts{Name: argAfter("--name"), PID: os.Getpid(), Listen: os.Getenv("LISTEN_FDS") + " " + os.Getenv("LISTEN_PID")}
	f.Host, _ = os.Hostname()
	f.Root = names("/")
	ifs, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range ifs {
		f.Interfaces = append(f.Interfaces, i.Name+" "+i.Flags.String())
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for _, l := range strings.Split(strings.TrimSpace(string(mounts)), "\n") {
		f.Mounts = append(f.Mounts, strings.Fields(l)[1])
	}
	for _, p := range names("/proc") {
		if _, err := strconv.Atoi(p); err == nil {
			f.Processes = append(f.Processes, p)
		}
	}
	for fd := range 64 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fd <= nodeControlFD+1 {
			f.FDs = append(f.FDs, strconv.Itoa(fd))
		}
	}
	st, err := os.ReadFile(filepath.Join(argAfter("--state"), "introduced"))
	if err != nil {
		return err
	}
	f.State = string(st)

	if os.Geteuid() != 0 {
		b, _ := os.ReadFile("/proc/self/status")
		_, rest, _ := strings.Cut(string(b), "CapEff:")
		f.Caps, _, _ = strings.Cut(strings.TrimSpace(rest), "\n")
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	l, err := net.FileListener(os.NewFile(3, "listen"))
	if err != nil {
		return err
	}
	dial, err := DialerOf(nodeDialFD)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveEcho(c.(*net.TCPConn), dial)
		}
	}()
	if f.Control, err = serveControl(); err != nil {
		return err
	}
	out := os.NewFile(4, "report")
	fmt.Fprintln(out, `{"ready":true}`)
	<-term
	return json.NewEncoder(out).Encode(f)
}

// serveEcho sends everything back. Of a connection that begins with "across
// ADDR" and a newline it makes one with that address.
func serveEcho(c *net.TCPConn, dial func(context.Context, string, string) (net.Conn, error)) {
	defer c.Close()
	r := bufio.NewReader(c)
	if first, _ := r.Peek(1); string(first) == "a" {
		line, _ := r.ReadString('\n')
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		far, err := dial(ctx, "tcp", strings.TrimSpace(strings.TrimPrefix(line, "across ")))
		if err != nil {
			fmt.Fprintln(c, err)
			return
		}
		defer far.Close()
		fmt.Fprintln(c, "connected")
		go func() {
			_, _ = io.Copy(far, r)
			_ = far.(interface{ CloseWrite() error }).CloseWrite()
		}()
		_, _ = io.Copy(c, far)
		return
	}
	_, _ = io.Copy(c, r)
	_ = c.CloseWrite()
}

// serveControl answers each connection to the owner's socket with a line.
func serveControl() (string, error) {
	l, err := net.FileListener(os.NewFile(nodeControlFD, "control"))
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, argAfter("--name"))
			c.Close()
		}
	}()
	return l.Addr().Network(), nil
}

func argAfter(flag string) string {
	if i := slices.Index(os.Args, flag); i >= 0 && i+1 < len(os.Args) {
		return os.Args[i+1]
	}
	return ""
}

func names(dir string) (ns []string) {
	es, _ := os.ReadDir(dir)
	for _, e := range es {
		ns = append(ns, e.Name())
	}
	return ns
}

// labMain runs a lab as the homing command does.
func labMain(config string) int {
	var cfg Config
	cfg.Trust = func(home, node, name, addr string) error {
		err := os.WriteFile(filepath.Join(home, name), []byte(addr), 0o600)
		return errors.Join(err, os.WriteFile(filepath.Join(node, "introduced"), []byte(name), 0o600))
	}
	var plain struct {
		Nodes       int
		Delay       time.Duration
		Direct      string
		Report, Log string
		Command     []string
	}
	if err := json.Unmarshal([]byte(config), &plain); err != nil {
		fatal(err)
	}
	cfg.Direct = plain.Direct
	cfg.Nodes, cfg.Delay, cfg.Report, cfg.Log, cfg.Command = plain.Nodes, plain.Delay, plain.Report, plain.Log, plain.Command
	status, err := Run(context.Background(), cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "homing: lab:", err)
		return 125
	}
	return status
}

// labCommand is a lab to be started.
func labCommand(t *testing.T, cfg map[string]any) *exec.Cmd {
	t.Helper()
	if cfg["Nodes"] == nil {
		cfg["Nodes"] = 1
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	cmd := exec.Command(self, "test-lab", string(b))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	if cfg["User"] != nil {
		asNobody(t, cmd)
	}
	return cmd
}

// asNobody makes cmd run as an ordinary user, from a place where one may go.
func asNobody(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return // we are one
	}
	dir, err := os.MkdirTemp("/tmp", "homing-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "lab")
	if err := errors.Join(os.WriteFile(exe, b, 0o755), os.Chmod(dir, 0o755), os.Mkdir(dir+"/tmp", 0), os.Chmod(dir+"/tmp", 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Dir = exe, dir+"/tmp"
	cmd.Env = append(cmd.Env, "TMPDIR="+dir+"/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func runLab(t *testing.T, cfg map[string]any) (status int, stdout, stderr string) {
	t.Helper()
	cmd := labCommand(t, cfg)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

func TestStatusIsTheCommands(t *testing.T) {
	for _, c := range []struct {
		script string
		want   int
	}{{"exit 0", 0}, {"exit 7", 7}, {"kill -9 $$", 137}, {"kill -TERM $$", 143}} {
		status, _, stderr := runLab(t, map[string]any{"Command": []string{"sh", "-c", c.script}})
		if status != c.want || stderr != "" {
			t.Errorf("%q: status %d, want %d; stderr %q", c.script, status, c.want, stderr)
		}
	}
}

func TestCommandNotFound(t *testing.T) {
	status, _, stderr := runLab(t, map[string]any{"Command": []string{"/no/such/program"}})
	if status != 125 || !strings.Contains(stderr, "run /no/such/program: ") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

func TestNodesAreIsolated(t *testing.T) {
	for _, user := range []any{nil, "nobody"} {
		t.Run(fmt.Sprint(user), func(t *testing.T) {
			report := "report.json"
			if user == nil || os.Geteuid() != 0 {
				report = filepath.Join(t.TempDir(), report)
			}
			cmd := labCommand(t, map[string]any{"Nodes": 3, "Report": report, "User": user, "Command": []string{"true"}})
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			b, err := os.ReadFile(filepath.Join(cmd.Dir, report))
			if err != nil {
				t.Fatal(err)
			}
			var rep Report
			if err := json.Unmarshal(b, &rep); err != nil || len(rep.Nodes) != 3 {
				t.Fatalf("%v\n%s", err, b)
			}
			for i, raw := range rep.Nodes {
				var got facts
				if err := json.Unmarshal(raw, &got); err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprintf("n%d", i+1)
				want := facts{
					Name: name, Host: name, State: name, PID: 1, Listen: "1 1",
					Root:       []string{"dev", "homing", "proc", "state", "tmp"},
					Interfaces: []string{"lo loopback"}, // not up
					Mounts:     []string{"/", "/dev/null", "/homing", "/proc"},
					Processes:  []string{"1"},
					FDs:        []string{"0", "1", "2", "3", "4", "5", "6"},
					Control:    "unix",
				}
				if user != nil || os.Geteuid() != 0 {
					want.Caps = "0000000000000000"
				} else if unix.Access("/dev/userfaultfd", unix.R_OK|unix.W_OK) == nil {
					want.Mounts = []string{"/", "/dev/null", "/dev/userfaultfd", "/homing", "/proc"}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("node %d sees\n%+v\nwant\n%+v", i+1, got, want)
				}
			}
			left, _ := filepath.Glob(filepath.Join(cmd.Dir, sitePrefix+"*"))
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// echoClient sends a megabyte of a pattern, ends its half, and wants it back.
func echoClient(node string) error {
	addr, err := os.ReadFile(filepath.Join(os.Getenv("HOMING_STATE"), node))
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", string(addr))
	if err != nil {
		return err
	}
	one := []byte{1}
	best := time.Hour
	for range 20 {
		began := time.Now()
		if _, err := c.Write(one); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, one); err != nil {
			return err
		}
		best = min(best, time.Since(began))
	}
	sent := make([]byte, 32<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	began := time.Now()
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return errors.New("what came back differs")
	}
	took := time.Since(began)
	fmt.Printf("round trip %v, echo of 32 MiB at %.0f MB/s\n", best, float64(len(sent))/took.Seconds()/1e6)
	return nil
}

// TestDelay wants every byte through the relay in order, and the end of each
// half; the times are reported only, for a loaded machine may add to them.
func TestDelay(t *testing.T) {
	for _, delay := range []time.Duration{0, 200 * time.Microsecond, 20 * time.Millisecond} {
		status, stdout, stderr := runLab(t, map[string]any{"Delay": delay, "Command": []string{self, "test-echo", "n1"}})
		if status != 0 {
			t.Errorf("delay %v: status %d: %s", delay, status, stderr)
		}
		t.Logf("one-way delay %v: %s", delay, stdout)
	}
}

func TestRelayPassesAResetOn(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := startRelay(l.Addr().String(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := net.Dial("tcp4", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.(*net.TCPConn).SetLinger(0)
	s.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the other end died: %v", err)
	}
}

// TestKilledLabLeavesNothing kills a lab without warning: its nodes and its
// command must be gone, and its directory after the next lab.
func TestKilledLabLeavesNothing(t *testing.T) {
	cmd := labCommand(t, map[string]any{"Nodes": 2, "Command": []string{"sh", "-c", "echo up; exec sleep 1000"}})
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("command said %q", line)
	}
	children := childrenOf(t, cmd.Process.Pid)
	if len(children) != 3 {
		t.Fatalf("children %v, want two nodes and the command", children)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, c := range children {
		waitGone(t, c)
	}
	tmp := tempOf(cmd)
	if left, _ := filepath.Glob(filepath.Join(tmp, sitePrefix+"*")); len(left) != 1 {
		t.Fatalf("before the sweep: %v", left)
	}
	sweep(tmp)
	if left, _ := filepath.Glob(filepath.Join(tmp, sitePrefix+"*")); len(left) != 0 {
		t.Errorf("after the sweep: %v", left)
	}
}

func tempOf(cmd *exec.Cmd) (tmp string) {
	for _, e := range cmd.Env {
		if v, ok := strings.CutPrefix(e, "TMPDIR="); ok {
			tmp = v
		}
	}
	return tmp
}

func childrenOf(t *testing.T, pid int) (children []*os.Process) {
	t.Helper()
	tasks := names(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(f)
			p, err := os.FindProcess(n)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, p)
		}
	}
	return children
}

// waitGone waits until the process is gone: os.FindProcess holds a pidfd, so
// that its number's next user is not taken for it.
func waitGone(t *testing.T, p *os.Process) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if p.Signal(syscall.Signal(0)) != nil {
			return
		}
	}
	t.Errorf("process %d is still there", p.Pid)
}

func TestSweepSparesTheLiving(t *testing.T) {
	tmp := t.TempDir()
	s, err := newSite(tmp)
	if err != nil {
		t.Fatal(err)
	}
	sweep(tmp)
	if _, err := os.Stat(s.home); err != nil {
		t.Errorf("a lab in use was swept: %v", err)
	}
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	if got := names(tmp); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestTermIsPassedOn(t *testing.T) {
	cmd := labCommand(t, map[string]any{"Command": []string{"sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"}})
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 9 {
		t.Errorf("status %d, want 9", got)
	}
}

// TestCtrlC types the interrupt character at a terminal: the command gets it
// once, and the lab stays for the command's own end.
func TestCtrlC(t *testing.T) {
	cmd := labCommand(t, map[string]any{"Command": []string{"sh", "-c", "n=0; trap 'n=$((n+1)); echo got $n' INT; echo up; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.3; exit 4$n"}})
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	r := bufio.NewReader(tty)
	_, _ = r.ReadString('\n')
	_, _ = tty.Write([]byte{3})
	rest, _ := io.ReadAll(r)
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 41 {
		t.Errorf("status %d, want 41; output %q", got, rest)
	}
}

// TestStopIsFollowed stops a command that has a process group of its own, as an
// interactive shell has: the lab's parent must see the lab stop, and continuing
// the lab must continue the command.
func TestStopIsFollowed(t *testing.T) {
	cmd := labCommand(t, map[string]any{"Command": []string{"perl", "-e", "$|=1; setpgrp(0,0); print qq(up\n); kill STOP => $$; exit 6"}})
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(out).ReadString('\n')
	var ws unix.WaitStatus
	if _, err := unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil); err != nil || !ws.Stopped() {
		t.Fatalf("wait: %v, status %x: not stopped", err, ws)
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 6 {
		t.Errorf("status %d, want 6", got)
	}
}

func TestNodeThatDiesIsTold(t *testing.T) {
	report := filepath.Join(t.TempDir(), "r")
	status, _, stderr := runLab(t, map[string]any{"Report": report, "Command": []string{"sh", "-c", "for p in $(cat /proc/$PPID/task/*/children); do [ $p = $$ ] || kill -9 $p; done; sleep 0.2; exit 5"}})
	if status != 5 || !strings.Contains(stderr, "node n1 ended before the command did: signal: killed") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	b, _ := os.ReadFile(report)
	if !strings.Contains(string(b), `"error": "signal: killed"`) {
		t.Errorf("report %s", b)
	}
}
