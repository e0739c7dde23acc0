package tracer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/stub"
)

// Native executes calls in the stopped threads of a process that has no stub:
// it points a thread at a syscall instruction of the program's own and lets it
// run from one system-call stop to the next. No signal arises from that, so
// even an ignored SIGTRAP stays ignored, and nothing of the program's memory is
// touched. Each call costs two stops: for more than a few, Boot a stub.
//
// A thread is to be held (Hold) meanwhile; Release puts it back.
type Native struct {
	Tracer *Tracer
	at     uint64
}

// NewNative looks for a syscall instruction in a process, all of whose threads
// are stopped.
func NewNative(t *Tracer, pid int) (*Native, error) {
	at, err := syscallInstruction(pid)
	if err != nil {
		return nil, err
	}
	return &Native{Tracer: t, at: at}, nil
}

// syscallInstruction finds a syscall instruction in a process's code: in its
// vDSO, or, if the program has unmapped that, anywhere.
func syscallInstruction(pid int) (uint64, error) {
	maps, err := linux.Mappings(pid)
	if err != nil {
		return 0, fmt.Errorf("read mappings of process %d: %w", pid, err)
	}
	slices.SortStableFunc(maps, func(a, b linux.Mapping) int {
		return strings.Compare(b.Path, a.Path) // "[vdso]" comes before any path
	})
	for _, m := range maps {
		if m.Prot&unix.PROT_EXEC == 0 || m.Path == "[vsyscall]" {
			continue
		}
		code := make([]byte, min(1<<20, m.End-m.Start)) // two pages, if it is the vDSO
		n, _ := linux.ReadMemory(pid, m.Start, code)    // what cannot be read has none
		if i := bytes.Index(code[:n], []byte{0x0f, 0x05}); i >= 0 {
			return m.Start + uint64(i), nil
		}
	}
	return 0, errors.New("no syscall instruction in the program")
}

// Inject has the contract of Body.Inject.
func (n *Native) Inject(tid int, calls []Call) ([]uint64, error) {
	results := make([]uint64, 0, len(calls))
	if len(calls) == 0 {
		return results, nil
	}
	var r linux.Regs
	if err := linux.GetRegs(tid, &r); err != nil {
		return results, fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	for _, c := range calls {
		r.Rip, r.Rax, r.Orig_rax = n.at, c.NR, ^uint64(0)
		r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5]
		r.Eflags &^= directionFlag | trapFlag
		if err := linux.SetRegs(tid, &r); err != nil {
			return results, fmt.Errorf("set registers of thread %d: %w", tid, err)
		}
		for range 2 { // up to its entry, up to its end
			if err := n.Tracer.toSyscallStop(tid); err != nil {
				return results, err
			}
		}
		if err := linux.GetRegs(tid, &r); err != nil {
			return results, fmt.Errorf("read registers of thread %d: %w", tid, err)
		}
		if r.Rax > ^uint64(4095) {
			return results, &CallError{c, unix.Errno(-int64(r.Rax))}
		}
		results = append(results, r.Rax)
	}
	return results, nil
}

const trapFlag, directionFlag = 0x100, 0x400 // of rflags

// toSyscallStop resumes a thread up to its next system-call stop. All its
// signals are blocked; a SIGSTOP, which cannot be, is put off.
func (t *Tracer) toSyscallStop(tid int) error {
	for {
		if err := linux.ContSyscall(tid, 0); err != nil {
			return fmt.Errorf("resume thread %d: %w", tid, err)
		}
		ws, err := t.Wait(tid)
		switch {
		case err != nil:
			return err
		case linux.Event(ws) != 0: // a pending interrupt, or the end of a group stop
		case ws.StopSignal()&^0x80 == unix.SIGTRAP: // 0x80: PTRACE_O_TRACESYSGOOD
			return nil
		case ws.StopSignal() == unix.SIGSTOP:
			defer StopLater(tid)
		default:
			return fmt.Errorf("thread %d stopped by %v during an injected call", tid, ws.StopSignal())
		}
	}
}

// Boot makes a stub in the process, at an address where nothing is, with a table
// of size bytes and scratch memory of as many behind it. What it executes ends
// in a trap: from here on SIGTRAP is not blocked in thread tid.
func (n *Native) Boot(tid int, at uint64, size int) (*Body, error) {
	b := &Body{Stub: at, Table: at + stubPage, Size: size, Tracer: n.Tracer}
	const fixed = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE
	if _, err := n.Inject(tid, []Call{
		C(unix.SYS_MMAP, b.Stub, stubPage, unix.PROT_READ|unix.PROT_EXEC, fixed, ^uint64(0)),
		C(unix.SYS_MMAP, b.Table, 2*uint64(size), unix.PROT_READ|unix.PROT_WRITE, fixed, ^uint64(0)),
	}); err != nil {
		return nil, fmt.Errorf("map a stub in thread %d: %w", tid, err)
	}
	mem, err := os.OpenFile("/proc/"+strconv.Itoa(tid)+"/mem", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	if _, err := mem.WriteAt(stub.Code(), int64(b.Stub)); err != nil {
		return nil, fmt.Errorf("write the stub of thread %d: %w", tid, err)
	}
	_, err = BlockSignals(tid)
	return b, err
}

const stubPage = 4096

// Unboot removes what Boot has made.
func (n *Native) Unboot(tid int, b *Body) error {
	if _, err := n.Inject(tid, []Call{C(unix.SYS_MUNMAP, b.Stub, stubPage+2*uint64(b.Size))}); err != nil {
		return fmt.Errorf("unmap the stub of thread %d: %w", tid, err)
	}
	return nil
}

// Held is a stopped thread that is worked on, with what it needs to go on as if
// it had not been.
type Held struct {
	TID  int
	Regs linux.Regs
	Mask uint64
}

// Hold notes registers and signal mask of a stopped thread and blocks all
// signals. A restartable sequence in which it was stopped is aborted first, as
// the kernel is about to do: it looks for that at the first return to the
// program, which is one to our code.
func Hold(tid int) (*Held, error) {
	h := &Held{TID: tid}
	if err := linux.GetRegs(tid, &h.Regs); err != nil {
		return nil, fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	if err := AbortRseq(tid, &h.Regs); err != nil {
		return nil, err
	}
	var err error
	if h.Mask, err = linux.GetSigmask(tid); err != nil {
		return nil, fmt.Errorf("read signal mask of thread %d: %w", tid, err)
	}
	if err := linux.SetSigmask(tid, ^uint64(0)); err != nil {
		return nil, fmt.Errorf("block signals of thread %d: %w", tid, err)
	}
	return h, nil
}

// Release gives a thread its registers and signal mask again. A call in which it
// was interrupted will be restarted by the kernel once it runs: that holds only
// in a stop which the kernel left to look for signals, so it is brought there.
// What the call keeps in its restart block is untouched, as no injected call
// has one.
func (h *Held) Release(t *Tracer) error {
	if err := linux.SetRegs(h.TID, &h.Regs); err != nil {
		return fmt.Errorf("set registers of thread %d: %w", h.TID, err)
	}
	if inRestart(&h.Regs) {
		if err := linux.Interrupt(h.TID); err != nil {
			return fmt.Errorf("stop thread %d: %w", h.TID, err)
		}
		if err := linux.Cont(h.TID, 0); err != nil {
			return fmt.Errorf("resume thread %d: %w", h.TID, err)
		}
		if err := t.WaitStop(h.TID, nil); err != nil {
			return err
		}
	}
	if err := linux.SetSigmask(h.TID, h.Mask); err != nil {
		return fmt.Errorf("set signal mask of thread %d: %w", h.TID, err)
	}
	return nil
}

// inRestart tells whether the kernel is to restart an interrupted call.
func inRestart(r *linux.Regs) bool {
	const first, last = -516, -512 // ERESTART_RESTARTBLOCK, ERESTARTSYS
	return int64(r.Orig_rax) >= 0 && int64(r.Rax) >= first && int64(r.Rax) <= last
}

// WaitStop waits until a thread that was asked to stop does. Signals that come
// first are passed to the function, if there is one, and not delivered.
func (t *Tracer) WaitStop(tid int, signal func(sig unix.Signal)) error {
	for {
		ws, err := t.Wait(tid)
		if err != nil {
			return err
		}
		if linux.Event(ws) == linux.EventStop {
			return nil
		}
		if sig := ws.StopSignal(); signal != nil && linux.Event(ws) == 0 && sig&^0x80 != unix.SIGTRAP {
			signal(sig)
		}
		if err := linux.Cont(tid, 0); err != nil { // that was an event of its last injected call
			return fmt.Errorf("resume thread %d: %w", tid, err)
		}
	}
}

// Step lets a stopped thread, whose signals are blocked, execute one instruction.
func (t *Tracer) Step(tid int) error {
	for {
		if err := linux.Step(tid); err != nil {
			return fmt.Errorf("step thread %d: %w", tid, err)
		}
		ws, err := t.Wait(tid)
		switch {
		case err != nil:
			return err
		case ws.StopSignal() == unix.SIGTRAP && linux.Event(ws) == 0:
			return nil
		case linux.Event(ws) == 0 && ws.StopSignal() == unix.SIGSTOP: // cannot be blocked
			defer StopLater(tid)
		default: // the end of an interruption or group stop
		}
	}
}

// StepOut steps a stopped thread until it is outside the given mappings, and
// returns its registers; mostly it is.
func (t *Tracer) StepOut(tid int, of []linux.Mapping) (linux.Regs, error) {
	var r linux.Regs
	stepped := false
	var mask uint64
	for range 100000 {
		if err := linux.GetRegs(tid, &r); err != nil {
			return r, fmt.Errorf("read registers of thread %d: %w", tid, err)
		}
		if !slices.ContainsFunc(of, func(m linux.Mapping) bool { return r.Rip >= m.Start && r.Rip < m.End }) {
			if stepped {
				return r, linux.SetSigmask(tid, mask)
			}
			return r, nil
		}
		var err error
		if !stepped {
			if mask, err = BlockSignals(tid); err != nil {
				return r, err
			}
			stepped = true
		}
		if err := t.Step(tid); err != nil {
			return r, err
		}
	}
	return r, fmt.Errorf("thread %d does not leave the code that it is to be moved from", tid)
}

// AbortRseq does what the kernel does with a thread that was stopped inside a
// restartable sequence (rseq(2)): it goes on at the sequence's abort handler.
// regs are its registers, and are set if that changes them.
func AbortRseq(tid int, regs *linux.Regs) error {
	rs, err := linux.GetRseq(tid)
	if err != nil || rs.Addr == 0 {
		return nil // a kernel without rseq, or a thread without
	}
	const rseqCS = 8 // offset of rseq_cs in struct rseq
	var b [32]byte   // struct rseq_cs: version, flags, start, length, abort address
	_, err = linux.ReadMemory(tid, rs.Addr+rseqCS, b[:8])
	if errors.Is(err, unix.EFAULT) {
		return nil // unmapped; at an exec stop it is still the old program's
	}
	if err != nil {
		return fmt.Errorf("read the rseq area of thread %d: %w", tid, err)
	}
	cs := binary.LittleEndian.Uint64(b[:])
	if cs == 0 {
		return nil
	}
	if _, err := linux.ReadMemory(tid, cs, b[:]); err != nil {
		return nil // the kernel will tell the program
	}
	start, length, abort := binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	if regs.Rip-start >= length {
		return nil // left behind: the kernel will clear it
	}
	regs.Rip = abort
	if err := linux.SetRegs(tid, regs); err != nil {
		return fmt.Errorf("set registers of thread %d: %w", tid, err)
	}
	if _, err := linux.WriteMemory(tid, rs.Addr+rseqCS, make([]byte, 8)); err != nil {
		return fmt.Errorf("write the rseq area of thread %d: %w", tid, err)
	}
	return nil
}

// Trap brings a thread into the delivery stop of a trap, from which it can be
// released with another signal in its place.
func (n *Native) Trap(tid int) error {
	if _, err := BlockSignals(tid); err != nil {
		return err
	}
	var r linux.Regs
	if err := linux.GetRegs(tid, &r); err != nil {
		return fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	r.Rip, r.Rax, r.Orig_rax = n.at, unix.SYS_GETPID, ^uint64(0)
	if err := linux.SetRegs(tid, &r); err != nil {
		return fmt.Errorf("set registers of thread %d: %w", tid, err)
	}
	return n.Tracer.Step(tid)
}

// Seed makes a held thread begin a call and interrupts it there: what the kernel
// needs to go on with it (restart_syscall(2)), as the moment when its time is
// over, is noted in the thread, and it is left in the state in which it restarts.
// done means that the call ended at once; result is what it gave.
func (n *Native) Seed(tid int, nr uint64, args [6]uint64) (result int64, done bool, err error) {
	var r linux.Regs
	if err := linux.GetRegs(tid, &r); err != nil {
		return 0, false, fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	r.Rip, r.Rax, r.Orig_rax = n.at, nr, ^uint64(0)
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = args[0], args[1], args[2], args[3], args[4], args[5]
	r.Eflags &^= directionFlag | trapFlag
	if err := linux.SetRegs(tid, &r); err != nil {
		return 0, false, fmt.Errorf("set registers of thread %d: %w", tid, err)
	}
	if err := n.Tracer.toSyscallStop(tid); err != nil { // its entry
		return 0, false, err
	}
	if err := linux.Interrupt(tid); err != nil {
		return 0, false, fmt.Errorf("interrupt thread %d: %w", tid, err)
	}
	if err := n.Tracer.toSyscallStop(tid); err != nil { // its end
		return 0, false, err
	}
	if err := linux.GetRegs(tid, &r); err != nil {
		return 0, false, fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	ret := int64(r.Rax)
	const restartBlock = -516 // ERESTART_RESTARTBLOCK
	return ret, ret != restartBlock, nil
}
