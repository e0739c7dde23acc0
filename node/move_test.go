package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"homing/kkc"
)

// A fakeJob is a supervisor that lists processes and answers other requests
// with fixed lines.
type fakeJob struct {
	procs []Process
	lines []string
	wait  bool // for the client to cancel, before the last line
	got   chan MoveRequest
}

func (f *fakeJob) listen(t *testing.T, dir, name string) {
	t.Helper()
	f.got = make(chan MoveRequest, 8)
	l, err := net.Listen("unix", filepath.Join(dir, jobsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.answer(c)
		}
	}()
}

func (f *fakeJob) answer(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return
	}
	var req JobRequest
	if json.Unmarshal(line, &req) != nil {
		return
	}
	if req.Op == "ps" {
		_ = json.NewEncoder(c).Encode(JobReply{Processes: f.procs})
		return
	}
	f.got <- *req.Move
	for i, line := range f.lines {
		if f.wait && i == len(f.lines)-1 {
			_, _ = in.ReadByte() // until the client has no more to say
		}
		_, _ = c.Write([]byte(line + "\n"))
	}
}

func jobsHere(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, jobsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMoveAsksTheOwner(t *testing.T) {
	dir := jobsHere(t)
	if err := Remember(dir, Known{Name: "n1"}); err != nil {
		t.Fatal(err)
	}
	one := &fakeJob{
		procs: []Process{{PID: 10, Job: 10, Where: "home"}, {PID: 11, Job: 10, Where: "away", Node: "n1"}},
		lines: []string{`{"event":{"pids":[10],"phase":"freeze"}}`, `{"report":{"pids":[10],"from":"home","to":"n1"}}`, `{"failure":{"pids":[11],"error":"no"}}`, `{"done":true}`},
	}
	two := &fakeJob{procs: []Process{{PID: 20, Job: 20, Where: "home"}}, lines: []string{`{"report":{"pids":[20],"from":"home","to":"n1"}}`}}
	one.listen(t, dir, "10.sock")
	two.listen(t, dir, "20.sock")

	var events []MoveEvent
	res, err := Move(t.Context(), dir, MoveRequest{PIDs: []int{20, 11, 99, 10}, To: "n1", Tree: true, Rate: 7}, func(e MoveEvent) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	if req := <-one.got; !slices.Equal(req.PIDs, []int{11, 10}) || !req.Tree || req.Rate != 7 || req.To != "n1" {
		t.Errorf("asked for %+v", req)
	}
	if len(events) != 1 || events[0].Phase != "freeze" {
		t.Errorf("events %+v", events)
	}
	if len(res.Moved) != 2 {
		t.Errorf("moved %+v", res.Moved)
	}
	var failed []int
	for _, f := range res.Failed {
		failed = append(failed, f.PIDs...)
		if f.NotHeld != (f.PIDs[0] == 99) {
			t.Errorf("%+v", f)
		}
	}
	// 20: its supervisor ended without having said that it was done.
	if slices.Sort(failed); !slices.Equal(failed, []int{11, 20, 99}) {
		t.Errorf("failed %+v", res.Failed)
	}

	if _, err := Move(t.Context(), dir, MoveRequest{PIDs: []int{10}, To: "n2"}, nil); err == nil {
		t.Error("an unknown node was not refused")
	}
	res, err = Move(t.Context(), dir, MoveRequest{All: true, From: "n2", To: AtHome}, nil)
	if err != nil || len(res.Moved)+len(res.Failed) != 0 {
		t.Errorf("nobody is on n2: %+v, %v", res, err)
	}
	if _, err = Move(t.Context(), dir, MoveRequest{All: true, From: "n1", To: AtHome}, nil); err != nil {
		t.Error(err)
	}
	if req := <-one.got; !req.All || req.From != "n1" || len(req.PIDs) != 0 {
		t.Errorf("asked for %+v", req)
	}
}

// What came of a move that is cancelled is still heard; no other begins.
func TestMoveCancelled(t *testing.T) {
	dir := jobsHere(t)
	one := &fakeJob{
		procs: []Process{{PID: 10, Job: 10, Where: "away"}}, wait: true,
		lines: []string{`{"event":{"pids":[10],"phase":"freeze"}}`, `{"failure":{"pids":[10],"error":"cancelled"}}` + "\n" + `{"done":true}`},
	}
	two := &fakeJob{procs: []Process{{PID: 20, Job: 20, Where: "away"}}}
	one.listen(t, dir, "10.sock")
	two.listen(t, dir, "20.sock")
	ctx, cancel := context.WithCancel(t.Context())
	res, err := Move(ctx, dir, MoveRequest{PIDs: []int{10, 20}, To: AtHome}, func(MoveEvent) { cancel() })
	if err != nil || len(res.Moved) != 0 || len(res.Failed) != 2 || res.Failed[0].Why != "cancelled" || res.Failed[1].PIDs[0] != 20 {
		t.Errorf("%+v, %v", res, err)
	}
	if len(two.got) != 0 {
		t.Error("another move was begun")
	}
}

func TestNoNodeIsCalledHome(t *testing.T) {
	token := kkc.Token{Name: AtHome, Addr: "127.0.0.1:1", Fingerprint: "x"}
	if err := checkFree(t.TempDir(), token.Name, token.Fingerprint); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a node was called home: %v", err)
	}
}
