package guest

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// Timers of timer_create that run at home expire there one by one, and the
// shadow takes every signal at once. A guest that blocks the signal must see
// what timer_getoverrun(2) describes: one signal pending for each timer, and a
// count of how often it has expired since. So a second one is not queued but
// counted, and the count is handed over when the first is taken.

const siTimer = -2

// timerSignals are the signals of a process's timers at home.
type timerSignals struct {
	mu      sync.Mutex
	pending map[int32]bool  // timer: its signal is queued to the body
	missed  map[int32]int32 // since then
	last    map[int32]int32 // added to the count of the signal taken last
}

// timerID and overrun are fields of the siginfo of SI_TIMER, see sigaction(2).
func timerID(si *signals.Info) int32 { return int32(binary.LittleEndian.Uint32(si[16:])) }
func overrun(si *signals.Info) int32 { return int32(binary.LittleEndian.Uint32(si[20:])) }

// overruns tells whether a signal is one more of a timer whose last one is
// still pending: then it is counted, and must not be queued.
func (p *pod) overruns(th *thread, si *signals.Info) bool {
	if signals.Code(si) != siTimer {
		return false
	}
	t, id := &th.proc.timerSignals, timerID(si)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending[id] {
		// It may have been discarded (sigaction(2) to SIG_IGN) unnoticed.
		st, err := linux.ReadStatus(th.here)
		if err == nil && (st.SigPnd|st.ShdPnd)&signals.Bit(signals.Signo(si)) != 0 {
			t.missed[id] += 1 + overrun(si)
			return true
		}
	}
	if t.pending == nil {
		t.pending, t.missed, t.last = map[int32]bool{}, map[int32]int32{}, map[int32]int32{}
	}
	t.pending[id] = true
	delete(t.missed, id)
	return false
}

// carry is what goes along with a process.
func (t *timerSignals) carry() map[int32]protocol.Overrun {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[int32]protocol.Overrun{}
	for id, n := range t.missed {
		out[id] = protocol.Overrun{Missed: n}
	}
	for id, n := range t.last {
		out[id] = protocol.Overrun{Missed: out[id].Missed, Last: n}
	}
	return out
}

// came takes over what came with a process; its pending signals are in the image.
func (t *timerSignals) came(im *checkpoint.Image, overruns map[int32]protocol.Overrun) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending, t.missed, t.last = map[int32]bool{}, map[int32]int32{}, map[int32]int32{}
	note := func(sigs []signals.Info) {
		for i := range sigs {
			if signals.Code(&sigs[i]) == siTimer {
				t.pending[timerID(&sigs[i])] = true
			}
		}
	}
	note(im.Pending)
	for i := range im.Threads {
		note(im.Threads[i].Pending)
	}
	for id, o := range overruns {
		t.last[id] = o.Last
		if t.pending[id] {
			t.missed[id] = o.Missed
		}
	}
}

func (t *timerSignals) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending, t.missed, t.last = nil, nil, nil
}

// taken notes that a thread takes a timer's signal and adds to its siginfo what
// was missed; changed tells whether there was anything.
func (t *timerSignals) taken(si *signals.Info) (changed bool) {
	if signals.Code(si) != siTimer || timerID(si) >= firstCPUTimer {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	id := timerID(si)
	missed := t.missed[id]
	if t.pending != nil {
		delete(t.pending, id)
		delete(t.missed, id)
		t.last[id] = missed
	}
	binary.LittleEndian.PutUint32(si[20:], uint32(overrun(si)+missed))
	return missed != 0
}

// takenByWait does the same for a signal that rt_sigtimedwait has returned.
func (p *pod) takenByWait(th *thread, infoAddr uint64) {
	t := &th.proc.timerSignals
	t.mu.Lock()
	any := len(t.pending) > 0
	t.mu.Unlock()
	var si signals.Info
	if !any {
		return
	}
	if _, err := linux.ReadMemory(th.here, infoAddr, si[:24]); err != nil {
		return
	}
	if t.taken(&si) {
		_, _ = linux.WriteMemory(th.here, infoAddr, si[:24]) // just written by the kernel itself
	}
}

// callOverrun serves timer_getoverrun.
func (p *pod) callOverrun(th *thread, n *linux.Notif) {
	id := int32(n.Args[0])
	t := &th.proc.timerSignals
	t.mu.Lock()
	missed := t.last[id]
	t.mu.Unlock()
	if missed == 0 {
		p.callTimer(th, n)
		return
	}
	p.forwardRaw(th, unix.SYS_TIMER_GETOVERRUN, n.Args, func(th *thread, r *syscallfwd.Reply) {
		ret := r.Ret
		if ret >= 0 {
			const delaytimerMax = 1<<31 - 1
			ret = min(ret+int64(missed), delaytimerMax)
		}
		p.respond(th.notifID, ret)
	})
}
