package tracer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/fault"
	"homing/internal/linux"
	"homing/internal/stub"
	"homing/syscallfwd"
)

// Call is one system call to inject.
type Call struct {
	NR   uint64
	Args [6]uint64
}

// C is shorthand for a Call.
func C(nr uint64, args ...uint64) Call {
	c := Call{NR: nr}
	copy(c.Args[:], args)
	return c
}

// EndedError says that a tracee ended while it was being worked on.
type EndedError struct {
	TID    int
	Status unix.WaitStatus
}

func (e *EndedError) Error() string {
	return fmt.Sprintf("thread %d ended (status %#x) during an injected call", e.TID, uint32(e.Status))
}

// CallError is an injected call that failed.
type CallError struct {
	Call  Call
	Errno unix.Errno
}

func (e *CallError) Error() string {
	if e.Errno == unix.ENOSYS {
		name := "that is newer than this program"
		if entry := syscallfwd.Lookup(uint32(e.Call.NR)); entry != nil {
			name = entry.Name
		}
		return fmt.Sprintf("this kernel has no system call %s (%d); a newer one is needed", name, e.Call.NR)
	}
	return fmt.Sprintf("injected call %d(%#x): %v", e.Call.NR, e.Call.Args, e.Errno)
}

// Unwrap gives the errno.
func (e *CallError) Unwrap() error { return e.Errno }

// waitTrap resumes tid, which stands in a ptrace stop, until it executes an
// int3. Only the calling locked thread may call it. Interrupt stops that come
// in between are passed over; signals other than SIGTRAP must be blocked. A
// SIGSTOP, which cannot be, is put off.
func (b *Body) waitTrap(tid int) error {
	if err := linux.Cont(tid, 0); err != nil {
		return fmt.Errorf("resume thread %d: %w", tid, err)
	}
	for {
		ws, err := b.Tracer.Wait(tid)
		if err != nil {
			return err
		}
		switch {
		case linux.Event(ws) != 0: // a new child, a pending interrupt, or the end of a group stop
			if b.Event != nil && linux.Event(ws) != linux.EventStop {
				b.Event(tid, linux.Event(ws))
			}
			if err := linux.Cont(tid, 0); err != nil {
				return fmt.Errorf("resume thread %d: %w", tid, err)
			}
		case ws.StopSignal() == unix.SIGTRAP:
			return nil
		case ws.StopSignal() == unix.SIGSTOP:
			defer StopLater(tid)
			if err := linux.Cont(tid, 0); err != nil {
				return fmt.Errorf("resume thread %d: %w", tid, err)
			}
		case IsFault(ws.StopSignal()) && b.atTrap(tid):
			// A fault of the program's was pending. The kernel hands out all of
			// them with our trap's, blocked or not. The program will make the
			// same instruction, and fault again.
			if err := linux.Cont(tid, 0); err != nil {
				return fmt.Errorf("resume thread %d: %w", tid, err)
			}
		default:
			return fmt.Errorf("thread %d stopped by %v during an injected call", tid, ws.StopSignal())
		}
	}
}

// IsFault tells whether a signal is that of an instruction which was not
// executed, and will raise it again when it is.
func IsFault(sig unix.Signal) bool {
	return sig == unix.SIGSEGV || sig == unix.SIGBUS || sig == unix.SIGILL || sig == unix.SIGFPE
}

// atTrap tells whether the stub has come to its trap: it is not the stub that
// has faulted.
func (b *Body) atTrap(tid int) bool {
	var r linux.Regs
	return linux.GetRegs(tid, &r) == nil && r.Rip == b.Stub+stub.Trap+1
}

// StopLater sends a process the SIGSTOP again that was kept from stopping one of
// its threads while we worked on it, unless it was to continue since: a SIGCONT
// then waits, blocked like all signals.
func StopLater(tid int) {
	st, err := linux.ReadStatus(tid)
	if err != nil || (st.SigPnd|st.ShdPnd)&(1<<(uint(unix.SIGCONT)-1)) != 0 {
		return
	}
	_ = unix.Kill(tid, unix.SIGSTOP) // ESRCH: it has ended
}

// Body is where the stub and its table lie in a tracee.
type Body struct {
	Stub   uint64  // address of stub.Code
	Table  uint64  // address of the table
	Size   int     // bytes of the table
	Mem    []byte  // the table and scratch, if shared with us; else written with process_vm_writev
	Tracer *Tracer // whose thread works on it
	// Event, if set, is told of ptrace events (a new child) during Inject.
	Event func(tid, event int)
}

// Inject makes thread tid, in a ptrace stop, execute calls and returns their
// results; it stops at the first that fails, with a *CallError. The caller
// saves and restores registers and signal mask (BlockSignals).
func (b *Body) Inject(tid int, calls []Call) ([]uint64, error) {
	results := make([]uint64, 0, len(calls))
	if missing, ok := fault.Value("calls.missing"); ok {
		for i, c := range calls {
			if slices.Contains(strings.Fields(missing), strconv.FormatUint(c.NR, 10)) {
				return make([]uint64, i), &CallError{c, unix.ENOSYS}
			}
		}
	}
	per := b.Size / stub.EntrySize
	for len(calls) > 0 {
		n := min(per, len(calls))
		table := b.Mem
		if table == nil {
			table = make([]byte, n*stub.EntrySize)
		}
		for i, c := range calls[:n] {
			stub.PutEntry(table[i*stub.EntrySize:], c.NR, c.Args[:]...)
		}
		if b.Mem == nil {
			if _, err := linux.WriteMemory(tid, b.Table, table); err != nil {
				return results, fmt.Errorf("write the call table of thread %d: %w", tid, err)
			}
		}
		regs := linux.Regs{Rip: b.Stub + stub.Batch, R12: b.Table, R13: uint64(n)}
		if err := setEntryRegs(tid, &regs); err != nil {
			return results, err
		}
		if err := b.waitTrap(tid); err != nil {
			return results, err
		}
		if b.Mem == nil {
			if _, err := linux.ReadMemory(tid, b.Table, table); err != nil {
				return results, fmt.Errorf("read the call table of thread %d: %w", tid, err)
			}
		}
		var after linux.Regs
		if err := linux.GetRegs(tid, &after); err != nil {
			return results, fmt.Errorf("read registers of thread %d: %w", tid, err)
		}
		for i := range n - int(after.R13) {
			results = append(results, stub.Result(table[i*stub.EntrySize:]))
		}
		if after.R13 != 0 {
			i := n - int(after.R13)
			return results, &CallError{calls[i], unix.Errno(-int64(stub.Result(table[i*stub.EntrySize:])))}
		}
		calls = calls[n:]
	}
	return results, nil
}

// setEntryRegs points a thread at the stub, keeping its segment registers.
func setEntryRegs(tid int, to *linux.Regs) error {
	var r linux.Regs
	if err := linux.GetRegs(tid, &r); err != nil {
		return fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	r.Rip, r.R12, r.R13 = to.Rip, to.R12, to.R13
	r.Orig_rax = ^uint64(0) // not in a system call: nothing to restart
	r.Eflags &^= 0x400      // direction flag
	if err := linux.SetRegs(tid, &r); err != nil {
		return fmt.Errorf("set registers of thread %d: %w", tid, err)
	}
	return nil
}

// BlockSignals blocks all signals of a stopped thread but SIGTRAP, which the
// kernel would unblock and reset at the first int3, and returns the old mask.
func BlockSignals(tid int) (uint64, error) {
	old, err := linux.GetSigmask(tid)
	if err != nil {
		return 0, fmt.Errorf("read signal mask of thread %d: %w", tid, err)
	}
	return old, linux.SetSigmask(tid, ^uint64(1<<(uint(unix.SIGTRAP)-1)))
}

// WriteScratch writes the scratch area behind the table.
func (b *Body) WriteScratch(tid int, p []byte) error {
	if b.Mem != nil {
		copy(b.Mem[b.Size:], p)
		return nil
	}
	if _, err := linux.WriteMemory(tid, b.Table+uint64(b.Size), p); err != nil {
		return fmt.Errorf("write scratch memory of thread %d: %w", tid, err)
	}
	return nil
}

// ReadScratch reads the scratch area behind the table.
func (b *Body) ReadScratch(tid int, p []byte) error {
	if b.Mem != nil {
		copy(p, b.Mem[b.Size:])
		return nil
	}
	if _, err := linux.ReadMemory(tid, b.Table+uint64(b.Size), p); err != nil {
		return fmt.Errorf("read scratch memory of thread %d: %w", tid, err)
	}
	return nil
}
