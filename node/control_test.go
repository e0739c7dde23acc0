package node

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/kkc"

	"golang.org/x/sys/unix"
)

// askNode returns the lines of an answer but the last.
func askNode(t *testing.T, state string, req ControlRequest) ([]ControlReply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all []ControlReply
	err := Control(ctx, state, req, func(r ControlReply) { all = append(all, r) })
	return all, err
}

func TestEvict(t *testing.T) {
	n := startDaemon(t, t.TempDir())
	lines, err := askNode(t, n.state, ControlRequest{Op: "evict", For: time.Hour})
	if err != nil || len(lines) != 2 || lines[0].Progress != "one of two" {
		t.Fatalf("%+v, %v", lines, err)
	}
	ev := lines[1].Evicted
	if ev == nil || ev.Name != "lent" || ev.Guests != 2 || ev.Stopped != time.Millisecond || ev.Gone != time.Second || len(ev.Left) != 1 || time.Until(ev.Until) < 59*time.Minute {
		t.Fatalf("%+v", ev)
	}
	wantError(t, n.lend.Admit(0), "node lent is not lending at the moment", "its owner evicted guests; until "+ev.Until.Format("15:04"))
	lines, err = askNode(t, n.state, ControlRequest{Op: "status"})
	if err != nil || len(lines) != 1 || lines[0].Status == nil {
		t.Fatalf("%+v, %v", lines, err)
	}
	if s := lines[0].Status; s.Name != "lent" || s.Addr != n.addr || len(s.Guests) != 1 || s.Guests[0] != (Guest{PID: 4711, Home: "u@[2Jh", Command: "cc1  [2J-c"}) || !s.Until.Equal(ev.Until) {
		t.Errorf("%+v", s)
	}
	if lines, err := askNode(t, n.state, ControlRequest{Op: "resume"}); err != nil || len(lines) != 0 {
		t.Fatalf("%+v, %v", lines, err)
	}
	if err := n.lend.Admit(0); err != nil {
		t.Error(err)
	}
	if lines, err = askNode(t, n.state, ControlRequest{Op: "status"}); err != nil || !lines[0].Status.Until.IsZero() {
		t.Errorf("%+v, %v", lines, err)
	}
	_, err = askNode(t, n.state, ControlRequest{Op: "dance"})
	wantError(t, err, `request "dance" is unknown`)
	_, err = askNode(t, n.state, ControlRequest{Op: "evict", For: -1})
	wantError(t, err, "--for")
}

// Nobody is admitted while guests are sent home, however long that takes, and
// the daemon's end ends an eviction.
func TestEvictionIsCutShort(t *testing.T) {
	n := startDaemon(t, t.TempDir())
	began := make(chan struct{})
	n.guests.evict = func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}
	said := make(chan error, 1)
	go func() {
		_, err := askNode(t, n.state, ControlRequest{Op: "evict"})
		said <- err
	}()
	<-began
	wantError(t, n.lend.Admit(0), "its owner is evicting guests")
	n.stop()
	if err := <-n.ended; err != nil {
		t.Error(err)
	}
	wantError(t, <-said, "evict: context canceled")
	if _, err := os.Lstat(filepath.Join(n.state, controlFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	_, err := askNode(t, n.state, ControlRequest{Op: "status"})
	wantError(t, err, "no homing node runs", "--state DIR")
}

func TestLending(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	l := NewLending("attic", 2)
	l.now = func() time.Time { return now }
	for present, says := range []string{"", "", "node attic has 2 guests and takes no more than 2", "has 3 guests"} {
		if err := l.Admit(present); (err == nil) != (says == "") {
			t.Errorf("%d guests: %v", present, err)
		} else if err != nil {
			wantError(t, err, says)
		}
	}
	l.endEviction(10 * time.Minute)
	wantError(t, l.Admit(0), "until 15:10 UTC")
	now = now.Add(10 * time.Minute)
	if err := l.Admit(0); err != nil {
		t.Error(err)
	}
	if err := NewLending("", 0).Admit(1 << 20); err != nil {
		t.Error(err)
	}
}

// The socket is its owner's alone, replaces one that a killed daemon left, may
// lie deep, and serves who speaks while others are silent or talk nonsense.
func TestControlSocket(t *testing.T) {
	state := filepath.Join(t.TempDir(), strings.Repeat("deep", 40))
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(state, controlFile)
	if err := unix.Mknod(left, unix.S_IFSOCK|0o777, 0); err != nil {
		t.Fatal(err)
	}
	n := startDaemon(t, state)
	if st, err := os.Lstat(left); err != nil || st.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("%v, %v", st.Mode(), err)
	}
	path, done, err := socketPath(state, controlFile)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, text := range []string{"", "{]\n", strings.Repeat("x", maxControlLine+1)} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, text)
	}
	if _, err := askNode(t, state, ControlRequest{Op: "status"}); err != nil {
		t.Error(err)
	}
	n.stop() // although somebody is silent
	if err := <-n.ended; err != nil {
		t.Error(err)
	}
}

// Two nodes of which the first brings something to the second.
func TestPeers(t *testing.T) {
	a, b := startDaemon(t, t.TempDir()), t.TempDir()
	peers, err := NewPeers(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := join(home, a.token(t, time.Hour)); err != nil {
		t.Fatal(err)
	}
	s, err := dial(t, home)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close("over")
	e, err := (<-a.guests.served).Expect(peers.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	k, err := Lookup(home, "lent")
	if err != nil {
		t.Fatal(err)
	}
	c, err := peers.Dial(t.Context(), k.Addr, k.Fingerprint, e.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := e.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := far.Write([]byte("pages")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "pages" {
		t.Fatalf("%q, %v", got, err)
	}
	if peers.traffic.in.Load() == 0 || peers.traffic.out.Load() == 0 {
		t.Error("not counted")
	}
	if _, err := peers.Dial(t.Context(), k.Addr, k.Fingerprint, e.Ticket); err == nil {
		t.Error("a ticket is good twice")
	}
	var refused *kkc.RefusedError
	if _, err := peers.Dial(t.Context(), k.Addr, k.Fingerprint, "x"); !errors.As(err, &refused) {
		t.Error(err)
	}
}
