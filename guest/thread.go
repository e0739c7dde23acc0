package guest

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/checkpoint/transfer"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/kkc"
	"homing/signals"
	"homing/syscallfwd"
)

// proc is one guest process.
type proc struct {
	pid  int            // at home and in the pod
	gen  uint64         // see protocol.ProcRef
	body int            // thread group number here
	cpu  checkpoint.CPU // where its program began, if not here

	mu       sync.Mutex
	actions  [65]checkpoint.Action
	exiting  bool             // has said so: its end is no surprise
	replaced bool             // an exec, or the process at home, takes its place
	loading  bool             // its program has not begun: it can still run at home
	freezing bool             // it is about to move: all threads stop
	puller   *transfer.Puller // brings memory that is still elsewhere; see pull
	pulled   chan struct{}    // closed when it has
	draining chan struct{}    // set by Take, closed when what was left here has gone
	arrived  bool             // stands still until home says that it runs here
	sharesVM bool             // a vfork child: lives in its parent's memory
	timers   cpuTimers
	limits   map[int]unix.Rlimit // those that go with a body, as home has them

	timerSignals timerSignals
	peak         atomic.Uint64 // KiB: VmPeak before its program, see beginPeaks

	// sigHint counts the signals queued: the next trapped call of each thread
	// looks whether one is waiting for it.
	sigHint atomic.Uint64

	// kept are signals that stay pending at home for a signalfd, until the
	// guest unblocks them; lifting those of them that home is about to send.
	kept, lifting atomic.Uint64
	watched       atomic.Bool // its calls that change signal masks stop for the tracer

	// Tracer's thread only.
	stopped bool // job control: all threads are to stand still
	parked  bool // likewise, for the owner of this machine
}

func (p *proc) isLoading() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loading
}

func (p *proc) ref() protocol.ProcRef { return protocol.ProcRef{PID: p.pid, Gen: p.gen} }

func (p *proc) setLoading(v bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loading = v
}

// setArrived changes whether the process awaits Run, and returns whether it did.
func (p *proc) setArrived(v bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.arrived
	p.arrived = v
	return old
}

func (p *proc) isFreezing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.freezing
}

// standsStill tells whether a thread that stops is to be left standing. Tracer's
// thread.
func (p *proc) standsStill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped || p.parked || p.freezing || p.arrived
}

// action returns a signal's disposition.
func (p *proc) action(sig int) checkpoint.Action {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.actions[sig]
}

// thread is one guest thread.
type thread struct {
	tid  int // at home and in the pod
	here int // its number on this node
	proc *proc
	lane *lane
	enc  syscallfwd.Encoder
	wire []byte // frame being built

	// injecting: calls of this thread are ours; mmap takes its descriptors from files.
	injecting atomic.Bool

	// restarting: its trapped call was answered with a restart code, which the
	// next handler turns into EINTR or not. See undisturbed.
	restarting atomic.Bool
	exiting    atomic.Bool     // has called exit
	before     [2]atomic.Int64 // ns of the program and the kernel: used before its present body
	device     int             // for an injected ioctl: /dev/userfaultfd here; see addDevice
	files      map[int]int     // number in the image → descriptor here
	added      map[int]bool
	// mapped is the descriptor which the last trapped call mapped, plus 1; 0 if
	// it was another call. It is still in the body's table.
	mapped int
	// granted is the shared file that its pending mmap maps.
	granted atomic.Pointer[sharedFile]

	mu        sync.Mutex
	calling   bool   // a call is pending at home
	seq       uint64 // its number
	notifID   uint64
	entry     *syscallfwd.Entry
	args      [6]uint64
	call      *syscallfwd.Call
	done      uint64        // bytes moved by earlier parts of a large call
	deadline  int64         // when the time of its next call is over, see checkpoint.Thread; 0: as it says
	sigSeen   atomic.Uint64 // the process's sigHint when no signal waited for the thread
	attach    uint64        // number of the call that it was in when it moved, see reattach
	wants     bool          // waits in a trapped call that is home's, see bringHome
	part      uint64
	more      bool
	sigs      []queued         // to deliver when the call has been given up
	requeuing bool             // earlier ones are being delivered
	sigwait   bool             // in rt_sigtimedwait
	sigwaits  uint64           // how often it has been
	waitSet   uint64           // for which signals
	freezing  bool             // it is to stop: a call given up is not made again
	detached  *checkpoint.Call // the call at home that it was taken out of to stop
	special   func(th *thread, r *syscallfwd.Reply)

	// A temporary signal mask of the pending call (ppoll and its like).
	tempMask    uint64
	hasTemp     bool
	tempPending bool // a signal that it unblocks was pending before the call

	// Tracer's thread only.
	held       bool        // stands in a stop until home has decided
	heldSeq    uint64      // freeze's: call whose answer home was asked to keep
	standing   bool        // held, with its call pending at home: the answer resumes it, see reattach
	limit      timeLimit   // of the call that it went on with
	saved      *savedState // how it goes on, if its registers are ours now
	vfork      *vforkWait
	suspended  *linux.Regs   // registers of a call replaced by rt_sigsuspend, see suspend
	wanted     uint64        // ignored signals that home was told it waits for
	waitPtr    uint64        // where rt_sigtimedwait puts the siginfo
	delivering *signals.Info // the signal whose delivery stop it stands in for home's decision
}

// savedState are the registers and the mask of a thread that we have used for
// calls of our own.
type savedState struct {
	regs linux.Regs
	mask uint64
}

type queued struct {
	info     signals.Info
	directed bool
	id       uint64
}

// vforkWait is a parent that stands still until its child execs or exits.
type vforkWait struct {
	child int
	regs  linux.Regs
	mask  uint64
}

// memory is the guest's memory as package syscallfwd sees it.
type memory int

// Read implements syscallfwd.Memory.
func (m memory) Read(addr uint64, p []byte) (int, error) { return linux.ReadMemory(int(m), addr, p) }

// Write implements syscallfwd.Memory.
func (m memory) Write(addr uint64, p []byte) (int, error) { return linux.WriteMemory(int(m), addr, p) }

// lane is a stream for the calls of one thread at a time.
type lane struct {
	l      *kkc.Lane
	thread atomic.Pointer[thread]
	// draining: its thread ended with a call pending, whose answer is still to
	// come; it must not serve two threads. Guarded by pod.mu.
	draining bool
	buf      []byte // for bulk data
}

func (p *pod) register(th *thread) {
	p.mu.Lock()
	p.threads[th.here] = th
	p.home[th.tid] = th
	p.procs[th.proc.pid] = th.proc
	dead := p.dead.has(th.proc.gen)
	p.mu.Unlock()
	if dead { // its shadow was, before it came
		p.killGuest(th.proc)
	}
}

// procOf finds the process that a message from home means.
func (p *pod) procOf(m protocol.ProcRef) *proc {
	pr := p.procHome(m.PID)
	if pr == nil || pr.gen != m.Gen {
		return nil
	}
	return pr
}

func (p *pod) threadHere(tid int) *thread {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.threads[tid]
}

func (p *pod) threadHome(tid int) *thread {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.home[tid]
}

func (p *pod) procHome(pid int) *proc {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.procs[pid]
}

// threadsOf lists a process's threads, the leader first.
func (p *pod) threadsOf(pr *proc) []*thread {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []*thread
	for _, th := range p.threads {
		if th.proc != pr {
			continue
		}
		out = append(out, th)
		if th.tid == pr.pid {
			out[0], out[len(out)-1] = out[len(out)-1], out[0]
		}
	}
	return out
}

// forget removes a thread that has ended.
func (p *pod) forget(th *thread) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.threads, th.here)
	if p.home[th.tid] == th {
		delete(p.home, th.tid)
	}
	if th.lane == nil {
		return
	}
	th.lane.thread.CompareAndSwap(th, nil)
	th.mu.Lock()
	pending := th.calling // its late answer frees the lane, see serveLane
	th.mu.Unlock()
	if pending {
		th.lane.draining = true
	} else {
		p.lanes = append(p.lanes, th.lane)
	}
	th.lane = nil
}

// takeLane gives a thread a lane.
func (p *pod) takeLane(th *thread) error {
	p.mu.Lock()
	var ln *lane
	if n := len(p.lanes); n > 0 {
		ln = p.lanes[n-1]
		p.lanes = p.lanes[:n-1]
	}
	p.mu.Unlock()
	if ln == nil {
		l, err := p.sess.OpenLane()
		if err != nil {
			return err
		}
		ln = &lane{l: l}
		go p.serveLane(ln)
	}
	th.lane = ln
	ln.thread.Store(th)
	return nil
}
