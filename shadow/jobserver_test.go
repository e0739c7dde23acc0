package shadow

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"homing/node"
)

// fakeMover says what it was asked for. Processes above 900 cannot be moved.
type fakeMover struct {
	asked    []int
	released []int
	begun    func()
	family   []int // who goes with 10
}

func (m *fakeMover) Move(ctx context.Context, req node.MoveRequest, progress func(node.MoveEvent)) (node.MoveReport, error) {
	pid := req.PIDs[0]
	m.asked = append(m.asked, req.PIDs...)
	if m.begun != nil {
		m.begun()
		<-ctx.Done()
		return node.MoveReport{}, ctx.Err()
	}
	if pid > 900 {
		return node.MoveReport{}, errors.Join(errors.New("it is busy"), errors.New("it is large"))
	}
	if pid == 13 {
		return node.MoveReport{To: req.To}, nil // it is there
	}
	rep := node.MoveReport{PIDs: req.PIDs, From: "n1", To: req.To}
	var err error
	if pid == 10 && m.family != nil {
		rep.PIDs = append(rep.PIDs, m.family...)
		err = &node.MoveError{PID: 77, Err: errors.New("a child that stays")}
	}
	for range 1000 { // far more than anybody reads
		progress(node.MoveEvent{PIDs: rep.PIDs, Phase: "freeze"})
	}
	return rep, err
}

func (m *fakeMover) Release(pids []int, _ bool) error {
	m.released = append(m.released, pids...)
	return nil
}

// fakeJobServer answers for job 10 in a state directory.
func fakeJobServer(t *testing.T, m *fakeMover, procs *atomic.Pointer[[]node.Process]) (string, *jobServer) {
	t.Helper()
	dir := t.TempDir()
	srv := &jobServer{log: slog.New(slog.DiscardHandler), mover: m, info: func() node.JobReply { return node.JobReply{Processes: *procs.Load()} }}
	job, err := serveJob(dir, 10, srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { job.Close() })
	return dir, srv
}

func someProcesses() *atomic.Pointer[[]node.Process] {
	var procs atomic.Pointer[[]node.Process]
	procs.Store(&[]node.Process{
		{PID: 10, Job: 10, Where: "away", Node: "n1"},
		{PID: 11, Job: 10, Where: "away", Node: "n1"},
		{PID: 12, Job: 10, Where: "away", Node: "n2"},
		{PID: 13, Job: 10, Where: "home"},
		{PID: 901, Job: 10, Where: "away", Node: "n1"},
	})
	return &procs
}

func TestJobServerMoves(t *testing.T) {
	m := &fakeMover{family: []int{11}}
	dir, _ := fakeJobServer(t, m, someProcesses())
	res, err := node.Move(t.Context(), dir, node.MoveRequest{PIDs: []int{13, 901, 10, 11}, To: node.AtHome}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.asked, []int{13, 901, 10}) || len(res.Moved) != 2 || len(res.Failed) != 3 || !strings.Contains(res.Failed[1].Why, "it is large") ||
		res.Failed[2].PIDs[0] != 77 || res.Moved[0].From != node.AtHome {
		t.Errorf("asked for %v: %+v", m.asked, res)
	}
	m.asked = nil
	if _, err = node.Move(t.Context(), dir, node.MoveRequest{All: true, From: "n1", To: node.AtHome}, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.asked, []int{10, 901}) {
		t.Errorf("all on n1 are 10 (with 11) and 901, not %v", m.asked)
	}
}

// The end of a client cancels what it has begun.
func TestJobServerCancels(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := &fakeMover{begun: cancel}
	dir, _ := fakeJobServer(t, m, someProcesses())
	res, err := node.Move(ctx, dir, node.MoveRequest{PIDs: []int{10, 12}, To: node.AtHome}, nil)
	if err != nil || len(res.Moved) != 0 || len(res.Failed) != 2 || !slices.Equal(m.asked, []int{10}) {
		t.Errorf("%+v, %v, asked for %v", res, err, m.asked)
	}
}

// A job whose last process has been let go of is unknown before that is answered.
func TestJobServerReleases(t *testing.T) {
	m, procs := &fakeMover{}, someProcesses()
	dir, _ := fakeJobServer(t, m, procs)
	if _, err := serveJob(dir, 10, &jobServer{}); !errors.Is(err, errHeld) {
		t.Errorf("a second job of the same number: %v", err)
	}
	if _, err := node.Detach(t.Context(), dir, []int{10}, false, nil); err != nil || !slices.Equal(m.released, []int{10}) {
		t.Errorf("released %v: %v", m.released, err)
	}
	if left, err := node.Jobs(dir); err != nil || len(left) == 0 {
		t.Errorf("the job has ended with processes left: %v", err)
	}
	stop := func(node.MoveEvent) { procs.Store(&[]node.Process{}) }
	if _, err := node.Detach(t.Context(), dir, []int{11}, false, stop); err != nil {
		t.Fatal(err)
	}
	if left, err := node.Jobs(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestOthersAreNoFamily(t *testing.T) {
	s := &Supervisor{}
	t1 := readProcesses()
	for _, kids := range t1.kids {
		for _, kid := range kids {
			s.others.add(t1, kid)
		}
	}
	now := s.ownProcesses()
	for pid, kids := range now.kids {
		for _, kid := range kids {
			if _, old := t1.stats[kid]; old && t1.stats[kid].StartTime == now.stats[kid].StartTime {
				t.Fatalf("%d is still a child of %d", kid, pid)
			}
		}
	}
}
