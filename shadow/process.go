package shadow

import (
	"sync"
	"sync/atomic"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
)

// state is where a process's body is. It changes only on the tracer's thread.
type state int

const (
	starting state = iota // the launcher, not yet the program
	leaving               // captured, not yet running away
	away                  // shadow here, guest there
	home                  // native; no longer traced
)

func (s state) String() string {
	return [...]string{"starting", "leaving", "away", "home"}[s]
}

// process is one process of the job. Fields below mu are guarded by
// Supervisor.mu; the others belong to the tracer's thread.
type process struct {
	pid      int
	gen      uint64 // see protocol.ProcRef
	state    atomic.Int32
	at       atomic.Pointer[site] // where its guest is, or was last; nil: it never left
	stub     uint64               // where the stub is mapped in the shadow
	arena    uint64               // where the arena is
	native   atomic.Bool          // at home, and not traced
	watched  atomic.Bool          // somebody waits for its end, see watch
	ended    atomic.Bool          // its watcher has seen its end
	limits   map[int]timeLimit    // tracer's thread: of the calls that its threads came home with
	moves    atomic.Int32         // for `homing ps`
	images   atomic.Uint64        // programs it has executed away
	residue  *residue             // tracer's thread: its memory from before it left, while that is here
	keep     linux.Range          // stack pages with argv and environment
	began    checkpoint.CPU       // where its program began, if that was away
	toldStop bool                 // what its node was told of that when it arrived there
	stopped  bool                 // in a group stop that we let happen
	caught   uint64               // signals whose mirrored disposition is a handler
	ordered  uint64               // signals that only the leader takes, see order.go
	// leaderless: the leader has called exit, others go on.
	leaderless bool

	signal       atomic.Pointer[sentSignal] // the last one
	wantsSegment atomic.Int64               // number of a segment, plus 1, that it is to attach at home
	unsent       atomic.Pointer[execResult] // an image that has left, until its guest is known to run

	// ignored are the signals that the guest ignores, or that are ignored by
	// default. The shadow blocks them, so that they do not disturb its calls: a
	// call that the kernel would not have interrupted must not end early.
	ignored  uint64        // tracer's thread
	wanted   uint64        // tracer's thread: those of them that sigtimedwait waits for
	signalfd atomic.Uint64 // signals that a signalfd reads

	// guarded by Supervisor.mu
	comm     string
	argv     []string
	reason   string           // why it is home
	cpu      protocol.CPUTime // of the guest, last known
	children protocol.CPUTime // of guests waited for
	told     bool             // cpu is final: the guest has said it when it ended
}

// site is where the process's guest is, or was last; nil if it never left.
func (p *process) site() *site { return p.at.Load() }

// sentSignal is a signal on its way to a guest. Signals and answers travel on
// streams of their own; an answer names the last signal that was sent before
// it, and the node holds it until it has taken that over.
type sentSignal struct {
	to *site
	id uint64
}

// sendSignal passes a signal to the pod where the process's guest is.
func (p *process) sendSignal(m protocol.SignalMessage) {
	at := p.at.Load()
	if at == nil {
		return
	}
	p.signal.Store(&sentSignal{at, m.ID})
	at.out.Send(protocol.Signal, m)
}

// signalled is the number of the last signal sent to the guest at a site, 0 if
// there was none.
func (p *process) signalled(at *site) uint64 {
	if last := p.signal.Load(); last != nil && last.to == at {
		return last.id
	}
	return 0
}

// send queues a message for the pod where the process's guest is.
func (p *process) send(typ string, v any) {
	if at := p.at.Load(); at != nil {
		at.out.Send(typ, v)
	}
}

func (p *process) ref() protocol.ProcRef { return protocol.ProcRef{PID: p.pid, Gen: p.gen} }

func (p *process) setState(s state) { p.state.Store(int32(s)) }
func (p *process) getState() state  { return state(p.state.Load()) }

// thread is one shadow thread.
type thread struct {
	tid     int
	proc    *process
	slot    int
	hasSlot bool // of a thread about to leave

	seq     atomic.Uint64 // call in its slot
	limit   atomic.Int64  // when the time of that call is over, ns of CLOCK_MONOTONIC; 0: no limit
	limitOf atomic.Uint64 // which call that is
	calls   atomic.Uint64 // served so far
	early   atomic.Uint64 // call to be given up that had not arrived yet
	gone    atomic.Bool   // will not serve calls any more
	// order repeats, for the race detector, what the kernel orders: request and
	// answer go through the slot and the shadow, which it cannot see.
	order atomic.Uint32

	useMu   sync.Mutex
	used    int  // so many goroutines serve a call with its slot
	dropped bool // it will not run in the stub again
	pend    pending

	// Tracer's thread only.
	abandon   uint64 // call to interrupt at the next stop
	held      uint64 // signal whose delivery stop it stands in, 0 none
	heldInfo  signals.Info
	pass      int  // signal to let through at its delivery stop
	checkStop bool // was just told to stop: look whether it did
	stopSig   int  // stop signal whose delivery stop it stands in until the guest stands
	inListen  bool
	remask    bool      // its signal mask is to be set anew at the next stop
	kept      uint64    // signals it blocks for a signalfd
	own       uint64    // ordered signals that wait for the thread itself
	expected  [65]int32 // so many of a signal were sent to it that do not say so
	moved     uint64    // bytes that the pending call moved before an interruption; the lane's once the call has ended

	// Owned by the lane that serves the thread's calls.
	clone     *cloneRequest
	childSlot uint64      // address of the slot for the child of a clone
	childGen  uint64      // set by the tracer before the clone returns
	vforking  bool        // the stub will still write Done for an answered vfork
	fill      []byte      // text for a descriptor, so far
	exec      *execResult // set by the tracer before the slot becomes Gone
}

// use keeps the thread's slot from being given to another one until unuse. It
// fails if the thread has ended.
func (t *thread) use() bool {
	t.useMu.Lock()
	defer t.useMu.Unlock()
	if t.dropped {
		return false
	}
	t.used++
	return true
}

func (t *thread) hasEnded() bool {
	t.useMu.Lock()
	defer t.useMu.Unlock()
	return t.dropped
}

func (s *Supervisor) unuse(t *thread) {
	t.useMu.Lock()
	defer t.useMu.Unlock()
	if t.used--; t.dropped && t.used == 0 {
		s.arena.release(t.slot)
	}
}

// loopAddr is what a thread in our loop has in rbx.
func (t *thread) loopAddr() uint64 { return slotAddr(t.proc.arena, t.slot) }

type cloneRequest struct {
	slot  int
	flags uint64
}

type execResult struct {
	image *protocol.ProcImage
	pages []byte
	err   error
	home  string // why it stays at home instead
}

func (s *Supervisor) body(t *thread) *tracer.Body {
	data := s.arena.data(t.slot)
	return &tracer.Body{
		Stub:   t.proc.stub,
		Table:  slotAddr(t.proc.arena, t.slot) + 4096,
		Size:   tableSize,
		Mem:    data[:2*tableSize],
		Tracer: s.tr,
	}
}

// table finds threads and processes. Lock order: after nothing, before nothing.
type table struct {
	mu      sync.RWMutex
	threads map[int]*thread
	procs   map[int]*process
	dead    map[int]*process // ended, perhaps not yet waited for
}

func (t *table) thread(tid int) *thread {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.threads[tid]
}

func (t *table) process(pid int) *process {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.procs[pid]
}

func (t *table) add(th *thread) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.threads[th.tid] = th
	t.procs[th.proc.pid] = th.proc
	delete(t.dead, th.proc.pid) // of an earlier owner of the number
}

func (t *table) remove(tid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.threads, tid)
}

func (t *table) of(p *process) []*thread {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []*thread
	for _, th := range t.threads {
		if th.proc == p {
			out = append(out, th)
		}
	}
	return out
}
