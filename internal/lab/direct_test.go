package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// acrossClient has node from call node to, and sends it as many bytes as come
// back, up to 4 MiB. It prints what the node says and whether all came.
func acrossClient(from, to string) error {
	home := os.Getenv("HOMING_STATE")
	near, err := os.ReadFile(filepath.Join(home, from))
	if err != nil {
		return err
	}
	far := []byte(to)
	if !strings.Contains(to, ":") {
		if far, err = os.ReadFile(filepath.Join(home, to)); err != nil {
			return err
		}
	}
	c, err := net.Dial("tcp", string(near))
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, "across %s\n", far)
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Print(line)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, _ := io.ReadAll(r)
	switch {
	case bytes.Equal(sent, got):
		fmt.Println("all came back")
	case bytes.HasPrefix(sent, got):
		fmt.Println("cut")
	default:
		fmt.Println("differs")
	}
	return nil
}

func TestAcross(t *testing.T) {
	for name, c := range map[string]struct {
		cfg    map[string]any
		target string
		want   []string
	}{
		"directly": {map[string]any{}, "n2", []string{"connected", "all came back"}},
		"nobody":   {map[string]any{"User": "nobody"}, "n2", []string{"connected", "all came back"}},
		"delayed":  {map[string]any{"Delay": 2 * time.Millisecond}, "n2", []string{"connected", "all came back"}},
		"refused":  {map[string]any{"Direct": "no"}, "n2", []string{"lets no node reach another"}},
		"cut":      {map[string]any{"Direct": "1000000"}, "n2", []string{"connected", "cut"}},
		"in time":  {map[string]any{"Direct": "100000000"}, "n2", []string{"connected", "all came back"}},
		"stranger": {map[string]any{}, "127.0.0.1:22", []string{"is no node of this lab"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg["Nodes"] = 2
			exe := self
			if c.cfg["User"] != nil && os.Geteuid() == 0 {
				exe = "../lab" // where asNobody has put it
			}
			c.cfg["Command"] = []string{exe, "test-across", "n1", c.target}
			cmd := labCommand(t, c.cfg)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, w := range c.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("%q does not say %q", out, w)
				}
			}
		})
	}
}

// A test can change its mind while the lab runs.
func TestDirectFile(t *testing.T) {
	script := `"$0" test-across n1 n2; echo no >$HOMING_LAB_DIR/direct; "$0" test-across n1 n2; echo yes >$HOMING_LAB_DIR/direct; "$0" test-across n2 n1; echo what >$HOMING_LAB_DIR/direct; "$0" test-across n2 n1`
	status, stdout, stderr := runLab(t, map[string]any{"Nodes": 2, "Command": []string{"sh", "-c", script, self}})
	if status != 0 {
		t.Fatal(stderr)
	}
	if said := strings.Count(stdout, "connected\nall came back\n"); said != 2 || !strings.Contains(stdout, "lets no node") || !strings.Contains(stdout, `"what": say yes, no`) {
		t.Errorf("%q", stdout)
	}
	status, _, stderr = runLab(t, map[string]any{"Direct": "-5", "Command": []string{"true"}})
	if status != 125 || !strings.Contains(stderr, "say yes, no") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

// The socket of a node's owner is reached from outside.
func TestControlSocket(t *testing.T) {
	script := `import os,socket
for n in "n1", "n2":
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["HOMING_LAB_DIR"] + "/" + n + "/node.sock")
    print(s.makefile().readline().strip())`
	for _, user := range []any{nil, "nobody"} {
		cmd := labCommand(t, map[string]any{"Nodes": 2, "User": user, "Command": []string{"python3", "-c", script}})
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "n1\nn2\n" {
			t.Errorf("%v, %q", err, out)
		}
	}
}

// A question that was given up does not disturb the next one.
func TestDialerGivenUp(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	board := &switchboard{file: filepath.Join(t.TempDir(), DirectFile), addrs: map[string]string{}}
	board.add("n1", l.Addr().String())
	port, err := board.port()
	if err != nil {
		t.Fatal(err)
	}
	dial, err := DialerOf(dupFD(t, port))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		if c, err := dial(ctx, "tcp", l.Addr().String()); err == nil {
			c.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	c, err := dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "no node") {
		t.Error(err)
	}
	if _, err := DialerOf(999); err == nil {
		t.Error("no such descriptor")
	}
}

func dupFD(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
