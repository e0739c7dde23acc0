package oracle

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/node"
)

// Moves counts what the movers of a suite did.
type Moves struct {
	mu      sync.Mutex
	moved   int
	refused int // of programs that may be refused
	late    int // of processes that ended meanwhile
}

func (m *Moves) add(o *Moves) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moved += o.moved
	m.refused += o.refused
	m.late += o.late
}

// Moved is how many moves succeeded.
func (m *Moves) Moved() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved
}

func (m *Moves) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%d moves; %d came too late, %d were refused as they may be", m.moved, m.late, m.refused)
}

// Seed is where all random choices come from: $ORACLE_SEED, or the clock.
func Seed() (uint64, error) {
	s := os.Getenv("ORACLE_SEED")
	if s == "" {
		return uint64(time.Now().UnixNano()), nil
	}
	seed, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("oracle: ORACLE_SEED: %w", err)
	}
	return seed, nil
}

// A mover moves what runs in a lab, at random, until it is told to stop.
type mover struct {
	state    string
	launcher string // how the command line of a program begins that is still to be executed
	places   []string
	c        Case
	rng      *rand.Rand
	cancel   context.CancelFunc
	done     chan struct{}
	next     int // place of the route

	Moves
	log    []string // the last moves
	failed []string
}

// startMover begins to move the jobs of a lab. Which choices a seed leads to depends on when processes come and go.
func startMover(lab *Lab, c Case, seed uint64) *mover {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Name))
	m := &mover{state: lab.State, launcher: lab.homing + " run ", places: []string{"n1", "n2"}, c: c, rng: rand.New(rand.NewPCG(seed, h.Sum64())), done: make(chan struct{})}
	if !c.NodesOnly {
		m.places = append(m.places, node.AtHome)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		for m.pause(ctx) {
			m.move(ctx)
		}
	}()
	return m
}

// stop waits for the move that is under way.
func (m *mover) stop() {
	m.cancel()
	<-m.done
}

func (m *mover) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20*time.Millisecond + time.Duration(m.rng.IntN(80))*time.Millisecond):
		return true
	}
}

// move picks a process, alone or with its descendants, and a place where it is not.
func (m *mover) move(ctx context.Context) {
	// Supervisors that begin or end may fail to answer: they are asked again later.
	procs, _ := node.Jobs(m.state)
	procs = slices.DeleteFunc(procs, func(p node.Process) bool { return strings.HasPrefix(p.Command, m.launcher) }) // not begun
	if len(procs) == 0 {
		return
	}
	p := procs[m.rng.IntN(len(procs))]
	req := node.MoveRequest{PIDs: []int{p.PID}, Strategy: "stop"}
	if m.rng.IntN(2) == 0 {
		req.PIDs, req.Tree = []int{p.Job}, true
	}
	at := p.Node
	if p.Where == node.AtHome {
		at = node.AtHome
	}
	req.To = m.elsewhere(at)
	if len(m.c.Route) > 0 {
		req.PIDs, req.Tree, req.To = []int{p.Job}, true, m.c.Route[m.next%len(m.c.Route)]
		m.next++
	}
	began := time.Now()
	// A move that has begun is waited for: what comes of one that is cancelled is another test.
	res, err := node.Move(context.WithoutCancel(ctx), m.state, req, nil)
	what := fmt.Sprintf("%s %d (%.60s) %s → %s, tree %v, %v", began.Format("05.000"), p.PID, filepath.Base(p.Command), at, req.To, req.Tree, time.Since(began).Round(time.Millisecond))
	m.judge(what, res, err)
}

// elsewhere is a place that is not at.
func (m *mover) elsewhere(at string) string {
	places := slices.DeleteFunc(slices.Clone(m.places), func(place string) bool { return place == at })
	return places[m.rng.IntN(len(places))]
}

func (m *mover) judge(what string, res node.MoveResult, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failed = append(m.failed, what+": "+err.Error())
	}
	m.moved += len(res.Moved)
	for _, r := range res.Moved {
		what += fmt.Sprintf("; %v %s→%s in %v", r.PIDs, r.From, r.To, r.Total.Round(time.Millisecond/10))
	}
	for _, f := range res.Failed {
		what += fmt.Sprintf("; %v stay: %s", f.PIDs, f.Why)
		switch {
		case len(f.PIDs) > 0 && !slices.ContainsFunc(f.PIDs, runs):
			m.late++
		case m.c.mayRefuse():
			m.refused++
		default:
			m.failed = append(m.failed, what)
		}
	}
	m.log = append(m.log, what)
	if len(m.log) > 12 {
		m.log = m.log[1:]
	}
}

// runs tells whether a process exists and has not ended. One that is about to end is given a moment.
func runs(pid int) bool {
	for range 200 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(b), ") ")
		if err != nil || strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X") {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// mayRefuse tells whether the case has a reason to stay where it is.
func (c *Case) mayRefuse() bool { return c.Home != "" || c.MayComeHome || c.Stays != "" }

// RunMoved shows a case natively, and moved at random among home and two nodes until it ends: both must be equal, no
// move may fail, and nothing may be left of it on any side.
func (s *Suite) RunMoved(t *testing.T, u User, c Case, seed uint64) {
	t.Helper()
	if c.Still != "" {
		t.Skip("is not moved: " + c.Still)
	}
	dir, mark := s.prepare(t, u, c)
	defer os.RemoveAll(dir)
	c.Env = append(slices.Clone(c.Env), "VICTIM_MS=1200")
	native, err := s.runAt(Place{}, u, c, dir, mark)
	c.moved = true
	if err != nil {
		t.Fatalf("the native run, which is the measure, failed: %v", err)
	}
	lab, err := StartLab(s.Homing, s.Dir, u, 2, s.Delay)
	if err != nil {
		t.Fatal(err)
	}
	before := lab.holdings()
	m := startMover(lab, c, seed)
	place := Place{Lab: lab, Node: "n1"}
	if m.rng.IntN(2) == 0 && !c.NodesOnly || len(c.Route) > 0 {
		place.Node = node.AtHome
	}
	moved, err := s.runAt(place, u, c, dir, mark)
	m.stop()
	s.Moves.add(&m.Moves)
	fail := func(format string, args ...any) {
		t.Errorf(format, args...)
	}
	if err != nil {
		fail("moved: %v", err)
	} else {
		for _, d := range native.diff(moved) {
			fail("%s", d)
		}
		if d := lab.leaks(before, 20*time.Second); d != "" {
			fail("left behind: %s", d)
		}
	}
	for _, f := range m.failed {
		fail("a move failed: %s", f)
	}
	if _, err := lab.Close(); err != nil {
		fail("the lab: %v", err)
	}
	t.Logf("%v", &m.Moves)
	if t.Failed() {
		t.Logf("ORACLE_SEED=%d, started at %s; the last moves:\n%s\n%s", seed, place.Node, strings.Join(m.log, "\n"), lab.Log())
	}
}
