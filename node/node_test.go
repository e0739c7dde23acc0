package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/kkc"

	"golang.org/x/sys/unix"
)

// fakeGuests accepts sessions and reports fixed figures.
type fakeGuests struct {
	served chan *kkc.Session
	evict  func(context.Context) error
}

func (g *fakeGuests) Serve(s *kkc.Session) {
	s.Start()
	g.served <- s
	<-s.Done()
}

func (g *fakeGuests) Stats() GuestStats {
	return GuestStats{Guests: 2, CPUSeconds: 1.5, Calls: 77, CameHome: map[string]int{"io_uring_setup": 1}}
}

func (g *fakeGuests) Present() []Guest {
	return []Guest{{PID: 4711, Home: "u@\x1b[2Jh", Command: "cc1\n\x1b[2J-c"}}
}

func (g *fakeGuests) Evict(ctx context.Context, progress func(string)) (Eviction, error) {
	progress("one of two")
	if g.evict != nil {
		return Eviction{}, g.evict(ctx)
	}
	return Eviction{Guests: 2, Stopped: time.Millisecond, Gone: time.Second, Left: []string{"process 4711: stubborn"}}, nil
}

// A testNode is a running daemon.
type testNode struct {
	state  string
	addr   string
	guests *fakeGuests
	lend   *Lending
	reload chan os.Signal
	stop   context.CancelFunc
	ended  chan error
	report *bufio.Reader
}

func startDaemon(t *testing.T, state string) *testNode {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(w.Fd())) // the daemon owns and closes it
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	n := &testNode{
		state: state, guests: &fakeGuests{served: make(chan *kkc.Session, 8)}, lend: NewLending("lent", 3),
		reload: make(chan os.Signal), stop: cancel, ended: make(chan error, 1), report: bufio.NewReader(r),
	}
	go func() {
		n.ended <- Run(ctx, Config{
			Listen: "127.0.0.1:0", Name: "lent", State: state, ReportFD: fd, Guests: n.guests, Lending: n.lend,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		}, n.reload)
	}()
	if line, err := n.report.ReadString('\n'); err != nil || line != "{\"ready\":true}\n" {
		t.Fatalf("ready line %q, %v; daemon: %v", line, err, <-n.ended)
	}
	info, err := runningDaemonHere(state)
	if err != nil {
		t.Fatal(err)
	}
	n.addr = info.Addr
	t.Cleanup(func() { cancel(); r.Close() })
	return n
}

// runningDaemonHere is runningDaemon for a daemon in this very process, in which
// closing another descriptor of the lock would free it.
func runningDaemonHere(state string) (info daemonInfo, err error) {
	return info, readJSON(filepath.Join(state, daemonFile), &info)
}

func (n *testNode) token(t *testing.T, validFor time.Duration) kkc.Token {
	t.Helper()
	secret, _, err := newTrustStore(n.state).issue(validFor)
	if err != nil {
		t.Fatal(err)
	}
	id, err := kkc.LoadIdentity(n.state)
	if err != nil {
		t.Fatal(err)
	}
	return kkc.Token{Name: "lent", Addr: n.addr, Fingerprint: id.Fingerprint, Secret: secret}
}

// dial opens a session as `homing run` does.
func dial(t *testing.T, home string) (*kkc.Session, error) {
	t.Helper()
	k, err := Lookup(home, "lent")
	if err != nil {
		return nil, err
	}
	id, err := kkc.LoadIdentity(home)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := kkc.Dial(ctx, k.Addr, id, k.Fingerprint, NewHello(kkc.RoleHome, "tester", "test"))
	if err == nil {
		s.Start()
	}
	return s, err
}

// completeSession waits for the bulk connection, by a byte over it: a session
// that ends before has an end of its own kind.
func completeSession(t *testing.T, home, node *kkc.Session) {
	t.Helper()
	id := home.NextBulkID()
	go func() { _ = node.BulkSend(id, []byte{1}) }()
	if err := home.BulkRecv(home.Context(), id, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func join(home string, t kkc.Token) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := Join(ctx, home, t.String(), "", "test")
	return err
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line: %q", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestJoinUseRevoke(t *testing.T) {
	n, home := startDaemon(t, t.TempDir()), t.TempDir()
	if err := join(home, n.token(t, time.Hour)); err != nil {
		t.Fatal(err)
	}
	s, err := dial(t, home)
	if err != nil {
		t.Fatal(err)
	}
	served := <-n.guests.served
	if served.RemoteHello.Name != "tester" {
		t.Errorf("served %q", served.RemoteHello.Name)
	}

	completeSession(t, s, served)
	gone, err := newTrustStore(n.state).revoke(homeName())
	if err != nil || len(gone) != 1 {
		t.Fatalf("revoked %v, %v", gone, err)
	}
	n.reload <- unix.SIGHUP
	<-s.Done()
	wantError(t, s.Err(), "the node's owner has revoked your access")
	_, err = dial(t, home)
	wantError(t, err, "refused", "your access was revoked", "homing join TOKEN")
}

func TestTokenIsGoodOnce(t *testing.T) {
	n := startDaemon(t, t.TempDir())
	token := n.token(t, time.Hour)
	first, second := t.TempDir(), t.TempDir()
	if err := join(first, token); err != nil {
		t.Fatal(err)
	}
	wantError(t, join(second, token), "refused", "used already", "homing node token")
	if err := join(first, token); err != nil { // whose first answer was lost
		t.Errorf("joining again: %v", err)
	}
	if _, err := Lookup(second, "lent"); err == nil {
		t.Error("a refused home remembers the node")
	}
}

func TestTokenRace(t *testing.T) {
	s := newTrustStore(t.TempDir())
	secret, _, err := s.issue(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	got := make(chan error, 16)
	for i := range cap(got) {
		wg.Go(func() {
			got <- s.admit(kkc.Peer{Fingerprint: fmt.Sprint(i)}, kkc.Hello{Name: "racer", Secret: secret})
		})
	}
	wg.Wait()
	close(got)
	won := 0
	for err := range got {
		if err == nil {
			won++
		}
	}
	if hs, _ := s.homes(); won != 1 || len(hs) != 1 {
		t.Errorf("%d were admitted, %d homes known; want 1", won, len(hs))
	}
}

func TestTokenExpires(t *testing.T) {
	s := newTrustStore(t.TempDir())
	now := time.Now()
	s.now = func() time.Time { return now }
	secret, _, err := s.issue(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	wantError(t, s.admit(kkc.Peer{Fingerprint: "f"}, kkc.Hello{Secret: secret}), "expired")
	if ps, _ := s.tokens(); len(ps) != 0 {
		t.Errorf("expired tokens are kept: %v", ps)
	}
	_, _, err = s.issue(0)
	wantError(t, err, "--expires")
}

func TestTokenRevoked(t *testing.T) {
	n := startDaemon(t, t.TempDir())
	byID, whole := n.token(t, time.Hour), n.token(t, time.Hour)
	s := newTrustStore(n.state)
	for _, who := range []string{hashSecret(byID.Secret)[:tokenIDLen], whole.String()} {
		if gone, err := s.revoke(who); err != nil || len(gone) != 1 {
			t.Errorf("revoke %s: %v, %v", who, gone, err)
		}
	}
	wantError(t, join(t.TempDir(), byID), "revoked")
	wantError(t, join(t.TempDir(), whole), "revoked")
}

func TestWrongKeyIsNotTrusted(t *testing.T) {
	n, home := startDaemon(t, t.TempDir()), t.TempDir()
	token := n.token(t, time.Hour)
	other, err := kkc.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	token.Fingerprint = other.Fingerprint
	wantError(t, join(home, token), "another machine", "fresh token")
	if err := newTrustStore(n.state).redeem(token.Secret); err != nil {
		t.Error("the secret was shown to a machine with the wrong key")
	}
}

func TestIncompatibleHomesAreRefused(t *testing.T) {
	mine := NewHello(kkc.RoleNode, "lent", "v")
	for _, c := range []struct {
		change func(*kkc.Hello)
		says   string
	}{
		{func(h *kkc.Hello) { h.Arch = "riscv64" }, "home is riscv64"},
		{func(h *kkc.Hello) { h.Clock -= int64(time.Minute) }, "clocks of home and node differ by 1m0s"},
		{func(h *kkc.Hello) { h.Clock += int64(time.Hour) }, "NTP"},
		{func(h *kkc.Hello) { h.Role = kkc.RoleNode }, "admits homes only"},
	} {
		h := NewHello(kkc.RoleHome, "tester", "v")
		c.change(&h)
		wantError(t, compatible(mine, h), c.says)
	}
}

func TestReportAtTheEnd(t *testing.T) {
	n, home := startDaemon(t, t.TempDir()), t.TempDir()
	if err := join(home, n.token(t, time.Hour)); err != nil {
		t.Fatal(err)
	}
	s, err := dial(t, home)
	if err != nil {
		t.Fatal(err)
	}
	completeSession(t, s, <-n.guests.served)
	n.stop()
	if err := <-n.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	<-s.Done()
	wantError(t, s.Err(), "node lent is being stopped")
	line, err := n.report.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var rep Report
	if err := json.Unmarshal(line, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Name != "lent" || rep.Guests != 2 || rep.CPUSeconds != 1.5 || rep.Calls != 77 || rep.CameHome["io_uring_setup"] != 1 || rep.BytesIn == 0 || rep.BytesOut == 0 {
		t.Errorf("%+v", rep)
	}
	if _, err := os.Stat(filepath.Join(n.state, daemonFile)); err == nil {
		t.Error("daemon.json is left")
	}
}

func TestGarbageOnThePort(t *testing.T) {
	n := startDaemon(t, t.TempDir())
	for _, garbage := range []string{"", "\n", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x16\x03\x01\xff\xff", 1000)} {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, garbage)
		c.Close()
	}
	if err := join(t.TempDir(), n.token(t, time.Hour)); err != nil {
		t.Errorf("after garbage: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for addr, says := range map[string]string{
		l.Addr().String():   "address already in use",
		"203.0.113.77:4663": "no such address",
		"nonsense":          "--listen HOST:PORT",
		"fd":                "no socket was passed",
	} {
		_, err := listen(addr)
		wantError(t, err, says)
	}
}

func TestStateDirErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := lockState(filepath.Join(file, "state"))
	wantError(t, err, "state directory", "--state DIR")
	wantError(t, &BusyError{Dir: "/d", PID: 7}, "in use by another homing node (pid 7)", "--state DIR")
	_, _, err = NewToken(t.TempDir(), "", time.Hour)
	wantError(t, err, "no homing node runs", "--addr")
	_, err = Revoke(t.TempDir(), "nobody")
	wantError(t, err, `revoke "nobody"`)
}

func TestUnknownNode(t *testing.T) {
	home := t.TempDir()
	_, err := Lookup(home, "n1")
	wantError(t, err, `node "n1": unknown (no node is known)`, "homing join TOKEN")
	if err := Introduce(home, t.TempDir(), "n2", "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	_, err = Lookup(home, "n1")
	wantError(t, err, "known: n2")
	got, err := Lookup(home, "n2")
	if err != nil || got.Addr != "127.0.0.1:1" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(home, nodesFile), []byte("node = 5 ["), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Lookup(home, "n2")
	wantError(t, err, nodesFile, "join again")
}

func TestRememberKeepsAll(t *testing.T) {
	home := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := Remember(home, Known{Name: fmt.Sprintf("n%d", i), Addr: "127.0.0.1:1"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := Nodes(home); err != nil || len(all) != 8 {
		t.Errorf("%d nodes, %v", len(all), err)
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"": "unnamed", "a b\x1b[31mc\n": "ab[31mc", "zürich": "zürich", "\xff\xfe": "unnamed",
		strings.Repeat("ü", 100): strings.Repeat("ü", 32),
	} {
		if got := cleanName(in); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestJobs(t *testing.T) {
	dir := t.TempDir()
	if ps, err := Jobs(dir); err != nil || len(ps) != 0 {
		t.Errorf("no jobs: %v, %v", ps, err)
	}
	if err := os.Mkdir(filepath.Join(dir, jobsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	serveJob(t, filepath.Join(dir, jobsDir, "12.sock"), `{"processes":[{"pid":13,"job":12,"node":"n1","where":"away"},{"pid":12,"job":12,"where":"home","came_home":"ptrace"}]}`)
	serveJob(t, filepath.Join(dir, jobsDir, "11.sock"), `{"processes":[{"pid":13,"job":11,"where":"home"},{"pid":12,"job":11,"where":"home"}]}`)
	serveJob(t, filepath.Join(dir, jobsDir, "20.sock"), `garbage`)
	dead := filepath.Join(dir, jobsDir, "30.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()

	ps, err := Jobs(dir)
	wantError(t, err, "supervisor 20.sock")
	if len(ps) != 2 || ps[0].PID != 12 || ps[0].Job != 12 || ps[0].CameHome != "ptrace" || ps[1].Node != "n1" {
		t.Errorf("%+v", ps)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket of a dead supervisor is left: %v", err)
	}
}

func serveJob(t *testing.T, path, answer string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			_, _ = io.WriteString(c, answer+"\n")
		}
	}()
}
