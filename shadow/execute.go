package shadow

import (
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/stub"
	"homing/signals"
	"homing/syscallfwd"
)

// execute puts a call into the thread's slot, lets the shadow execute it and
// returns its result. It blocks as long as the call does. gone means that the
// thread ended, executed a new program or came home instead.
//
// Cost without contention: one futex wake of the stub, one wait of ours; no
// allocation, the data are copied once.
func (s *Supervisor) execute(th *thread, call *syscallfwd.Call) (ret int64, gone bool) {
	slot := s.arena.slot(th.slot)
	if th.vforking {
		s.await(slot, stub.Requested, vforkAnswered)
		th.vforking = false
	}
	limit := int64(0)
	if d, ok := call.Timeout(); ok {
		now := linux.Clock(unix.CLOCK_MONOTONIC)
		if limit = now + int64(d); call.Seq != 0 && th.limitOf.Load() == call.Seq { // see beginAgain
			limit = th.limit.Load()
			call.SetTimeout(time.Duration(max(limit-now, 1)))
		}
	}
	base := slotAddr(th.proc.arena, th.slot) + stub.SlotHeader
	args, err := call.Place(s.arena.data(th.slot), base)
	if err != nil { // larger than the node was told that images may be
		return -int64(unix.EFAULT), false
	}
	slot.Args = args
	th.limit.Store(limit)
	th.limitOf.Store(call.Seq)
	slot.Spin = s.spin.stub.Load()
	slot.NR, slot.Child = uint64(call.NR), th.childSlot
	th.seq.Store(call.Seq)
	if call.Seq != 0 && th.early.Load() == call.Seq { // see onAbandon
		th.seq.Store(0)
		return -signals.ERESTARTNOINTR, th.gone.Load()
	}
	th.calls.Add(1)
	th.order.Add(1)
	slot.Store(stub.Requested)
	if slot.StubSleeps() {
		linux.FutexWake(&slot.State, 1)
	}
	if call.Seq != 0 && th.early.Load() == call.Seq { // given up before it stood in the slot
		s.abandon(protocol.AbandonMessage{TID: th.tid, Seq: call.Seq})
	}
	if th.hasEnded() { // our request may have replaced the word of its end
		th.seq.Store(0)
		return -int64(unix.ESRCH), true
	}
	s.await(slot, stub.Requested, stub.Requested)
	th.order.Load()
	th.seq.Store(0)
	ret = slot.Ret
	if moved := th.moved; moved > 0 { // written by the tracer before it resumed the call
		th.moved = 0
		ret = int64(moved) + max(ret, 0)
	}
	return ret, th.gone.Load()
}

// simple executes a call without data.
func (s *Supervisor) simple(th *thread, nr uint32, args ...uint64) (int64, bool) {
	c := syscallfwd.Call{NR: nr}
	copy(c.Args[:], args)
	return s.execute(th, &c)
}

// vforkAnswered is a slot's state between the start of a vfork child and its
// release: set by the tracer, so that the lane can answer at once.
const vforkAnswered = 4

// await waits while the slot's state is one of a, b.
func (s *Supervisor) await(slot *stub.Slot, a, b uint32) uint32 {
	for range s.spin.wait.Load() {
		if st := slot.Load(); st != a && st != b {
			return st
		}
	}
	for {
		st := slot.Load()
		if st != a && st != b {
			return st
		}
		slot.SetWaiting(1)
		if slot.Load() == st {
			_ = linux.FutexWait(&slot.State, st) // EINTR, EAGAIN: look again
		}
		slot.SetWaiting(0)
	}
}

// publish ends a lane's wait from the tracer's thread.
func (s *Supervisor) publish(th *thread, state uint32) {
	th.order.Add(1)
	slot := s.arena.slot(th.slot)
	slot.Store(state)
	linux.FutexWake(&slot.State, 8)
}

// collect appends what a call hands back to the reply.
func (s *Supervisor) collect(th *thread, call *syscallfwd.Call, ret int64, r *syscallfwd.Reply) {
	r.Seq, r.Ret, r.Flags = call.Seq, ret, 0
	r.Outs = call.Gather(ret, s.arena.data(th.slot), r.Outs[:0])
}

// openProcessFD gets a copy of a process's descriptor: the very same open file.
func openProcessFD(pid, fd int) (int, error) {
	pfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pfd)
	return unix.PidfdGetfd(pfd, fd, 0)
}
