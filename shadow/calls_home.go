package shadow

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// A thread that comes home in the middle of a call: the shadow gives the call
// up, exactly (giveUp), and the thread goes on with its outcome: with its
// result, or where the kernel would have it make the call again.

var (
	errAnswered = errors.New("a call of it was answered meanwhile")
	errStuck    = errors.New("a call of it can not be interrupted at home")
)

// outcomes ends the calls that the threads of a returning process are in.
func (s *Supervisor) outcomes(ctx context.Context, r *returning) error {
	r.outcome = make([]*syscallfwd.Reply, len(r.threads))
	for i, th := range r.threads {
		call := r.img.Image.Threads[i].Call
		if call == nil || call.Seq == 0 {
			continue
		}
		var err error
		if r.outcome[i], err = s.outcome(ctx, th, call.Seq); err != nil {
			return err
		}
	}
	return nil
}

// beginAgain is told that the process does not come home after all.
func (r *returning) beginAgain() {
	for i, th := range r.threads {
		if call := r.img.Image.Threads[i].Call; call != nil {
			th.beginAgain(call.Seq, r.outcome[i])
		}
	}
}

// memory is the memory of a process at home as package syscallfwd sees it.
type memory int

// Read implements syscallfwd.Memory.
func (m memory) Read(addr uint64, p []byte) (int, error) { return linux.ReadMemory(int(m), addr, p) }

// Write implements syscallfwd.Memory.
func (m memory) Write(addr uint64, p []byte) (int, error) { return linux.WriteMemory(int(m), addr, p) }

// finishCalls writes what the calls have given into the rebuilt memory, and
// their results into the registers.
func (r *returning) finishCalls() error {
	for i := range r.threads {
		t := &r.img.Image.Threads[i]
		if t.Call == nil {
			continue
		}
		ret := int64(-signals.ERESTARTNOINTR)
		if reply := r.outcome[i]; reply != nil {
			var err error
			if ret, err = finishCall(r.p.pid, t, reply); err != nil {
				return err
			}
		}
		if ret == -int64(unix.EINTR) && !r.interrupts(t) || ret == -signals.ERESTART_RESTARTBLOCK {
			ret = -signals.ERESTARTNOINTR
		}
		if done := int64(t.Call.Done); done > 0 {
			ret = done + max(ret, 0)
		}
		t.Regs.Rax = uint64(ret)
		if !signals.IsRestart(ret) {
			t.Regs.Orig_rax = ^uint64(0)
		} else if t.Call.Seq != 0 && r.threads[i].limitOf.Load() == t.Call.Seq { // else it has not begun
			t.Deadline = r.threads[i].limit.Load()
		}
	}
	return nil
}

// finishCall does for a thread at home what its node would have done with the
// answer.
func finishCall(pid int, t *checkpoint.Thread, reply *syscallfwd.Reply) (int64, error) {
	switch {
	case reply.Flags&protocol.ReplyGone != 0:
		return 0, unix.ESRCH
	case reply.Flags&protocol.ReplyProc != 0:
		return reply.Ret, nil
	case reply.Flags != 0: // to be made natively
		return -signals.ERESTARTNOINTR, nil
	}
	entry := syscallfwd.Lookup(uint32(t.Regs.Orig_rax))
	if entry == nil {
		return 0, errors.New("in an unknown call")
	}
	g := &t.Regs
	var enc syscallfwd.Encoder
	args, mem := [6]uint64{g.Rdi, g.Rsi, g.Rdx, g.R10, g.R8, g.R9}, memory(pid)
	call, err := enc.Marshal(entry, int32(t.TID), args, mem, slotStride-4096)
	if errors.Is(err, syscallfwd.ErrTooBig) && entry.Splittable() {
		call, _, _, err = enc.MarshalPart(entry, int32(t.TID), args, mem, slotStride-4096, t.Call.Done)
	}
	if err != nil {
		return 0, err
	}
	return call.Scatter(mem, reply), nil
}

// interrupts tells whether a signal waits for a thread that does not block it.
func (r *returning) interrupts(t *checkpoint.Thread) bool {
	var set uint64
	for _, infos := range [][]signals.Info{r.img.Image.Pending, t.Pending} {
		for i := range infos {
			set |= signals.Bit(signals.Signo(&infos[i]))
		}
	}
	for i := range r.late {
		set |= signals.Bit(signals.Signo(&r.late[i].info))
	}
	return set&^t.Mask != 0
}
