package guest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

func itoa(i int) string { return strconv.Itoa(i) }

// specials are the calls that need more than marshalling.
var specials map[int32]func(*pod, *thread, *linux.Notif)

func init() {
	specials = map[int32]func(*pod, *thread, *linux.Notif){
		unix.SYS_CLONE:         (*pod).callClone,
		unix.SYS_FORK:          (*pod).callFork,
		unix.SYS_VFORK:         (*pod).callFork,
		unix.SYS_CLONE3:        (*pod).callClone3,
		unix.SYS_EXECVE:        (*pod).callExec,
		unix.SYS_EXECVEAT:      (*pod).callExec,
		unix.SYS_EXIT:          (*pod).callExit,
		unix.SYS_EXIT_GROUP:    (*pod).callExit,
		unix.SYS_MMAP:          (*pod).callMmap,
		unix.SYS_SHMAT:         (*pod).callShmat,
		unix.SYS_SHMDT:         (*pod).callShmdt,
		unix.SYS_RT_SIGACTION:  (*pod).callSigaction,
		unix.SYS_RT_SIGPENDING: (*pod).callSigpending,
		unix.SYS_PRCTL:         (*pod).callPrctl,
		unix.SYS_PRLIMIT64:     (*pod).callPrlimit,
		unix.SYS_SETRLIMIT:     (*pod).callPrlimit,
		unix.SYS_OPEN:          (*pod).callOpen,
		unix.SYS_OPENAT:        (*pod).callOpen,
		unix.SYS_OPENAT2:       (*pod).callOpen,
		unix.SYS_SIGNALFD:      (*pod).callSignalfd,
		unix.SYS_SIGNALFD4:     (*pod).callSignalfd,
		unix.SYS_GETRUSAGE:     (*pod).callRusage,
		unix.SYS_TIMES:         (*pod).callRusage,

		unix.SYS_GETITIMER:        (*pod).callItimer,
		unix.SYS_SETITIMER:        (*pod).callItimer,
		unix.SYS_TIMER_CREATE:     (*pod).callTimerCreate,
		unix.SYS_TIMER_SETTIME:    (*pod).callTimer,
		unix.SYS_TIMER_GETTIME:    (*pod).callTimer,
		unix.SYS_TIMER_GETOVERRUN: (*pod).callOverrun,
		unix.SYS_TIMER_DELETE:     (*pod).callTimer,
		unix.SYS_CLOCK_NANOSLEEP:  (*pod).callClockSleep,
		unix.SYS_CLOCK_GETTIME:    (*pod).callClock,
	}
}

// callExit tells home and lets the body end. Home's parent process sees the
// status from the shadow.
func (p *pod) callExit(th *thread, n *linux.Notif) {
	args := [6]uint64{n.Args[0]}
	th.exiting.Store(true)
	if n.NR == unix.SYS_EXIT_GROUP || p.allExiting(th.proc) {
		t := p.total(th.proc)
		args[1], args[2], args[3], args[4], args[5] = uint64(t.User), uint64(t.System), uint64(t.MaxRSS), uint64(t.MinFlt), uint64(t.MajFlt)
		th.proc.mu.Lock()
		th.proc.exiting = true
		th.proc.mu.Unlock()
	}
	p.send(th, &syscallfwd.Call{TID: int32(th.tid), NR: uint32(n.NR), Args: args})
	th.mu.Lock()
	th.calling = false
	th.mu.Unlock()
	p.pass(n.ID)
}

// allExiting tells whether the last thread of a process is ending. A leader
// that has ended stays in the list until the others have.
func (p *pod) allExiting(pr *proc) bool {
	for _, th := range p.threadsOf(pr) {
		if !th.exiting.Load() {
			return false
		}
	}
	return true
}

// callMmap maps a file: home says what it is, its content comes from the image
// cache, and the guest's own kernel makes the mapping.
func (p *pod) callMmap(th *thread, n *linux.Notif) {
	const mapTypeMask = 0xf
	if int(int32(n.Args[4]))+1 == th.mapped && n.Args[3]&mapTypeMask == unix.MAP_PRIVATE && len(p.threadsOf(th.proc)) == 1 {
		p.pass(n.ID) // one more piece of the same file: a dynamic linker's habit
		return
	}
	p.forwardRaw(th, unix.SYS_MMAP, n.Args, func(th *thread, r *syscallfwd.Reply) {
		if r.Flags&protocol.ReplyFile == 0 {
			p.respond(th.notifID, r.Ret)
			return
		}
		var f checkpoint.File
		if err := json.Unmarshal(r.Outs, &f); err != nil {
			p.sess.Close("malformed file description")
			return
		}
		id, fd := th.notifID, int(int32(th.args[4]))
		go func() { // may take as long as the file does
			src, err := p.content(f, th)
			if errors.Is(err, errGone) {
				p.restart(th, id, -signals.ERESTARTNOINTR)
				return
			}
			if err != nil {
				p.log.Error("file content", "path", f.Path, "err", err)
				p.respond(id, -int64(unix.ENOMEM))
				return
			}
			if err := linux.NotifAddFD(p.listener, id, src, fd); err != nil {
				p.log.Error("give a file to a body", "err", err)
				p.respond(id, -int64(unix.ENOMEM))
				return
			}
			th.mapped = fd + 1
			p.pass(id)
		}()
	})
}

// callSigaction: the guest's kernel keeps the handler, home learns whether the
// signal is ignored, caught or default.
func (p *pod) callSigaction(th *thread, n *linux.Notif) {
	sig, ptr := int(n.Args[0]), n.Args[1]
	var raw [32]byte
	valid := sig >= 1 && sig <= 64 && sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) && n.Args[3] == 8
	if ptr == 0 || !valid {
		p.pass(n.ID) // only asks, or is refused
		return
	}
	if _, err := linux.ReadMemory(th.here, ptr, raw[:]); err != nil {
		p.pass(n.ID)
		return
	}
	a := decodeAction(raw[:])
	th.proc.mu.Lock()
	old := th.proc.actions[sig]
	th.proc.actions[sig] = a
	th.proc.mu.Unlock()
	if dispositionKind(a) == dispositionKind(old) && (a.Flags^old.Flags)&(signals.NoChildStop|signals.NoChildWait) == 0 {
		p.pass(n.ID)
		return
	}
	blocked := uint64(0)
	if st, err := linux.ReadStatus(th.here); err == nil && st.SigBlk&signals.Bit(sig) != 0 {
		blocked = 1
	}
	p.forwardRaw(th, unix.SYS_RT_SIGACTION, [6]uint64{uint64(sig), dispositionKind(a), a.Flags, blocked}, func(th *thread, r *syscallfwd.Reply) {
		if signals.IsRestart(r.Ret) { // given up for a signal: home has not changed it
			th.proc.mu.Lock()
			th.proc.actions[sig] = old
			th.proc.mu.Unlock()
			p.restart(th, th.notifID, -signals.ERESTARTNOINTR)
			return
		}
		p.pass(th.notifID)
	})
}

func decodeAction(b []byte) checkpoint.Action {
	return checkpoint.Action{Handler: le64(b), Flags: le64(b[8:]), Restorer: le64(b[16:]), Mask: le64(b[24:])}
}

// dispositionKind is 0 default, 1 ignored, 2 caught.
func dispositionKind(a checkpoint.Action) uint64 { return min(a.Handler, 2) }

// callSigpending: what waits in the guest's kernel, and those that wait at home
// because the guest ignores them or a signalfd reads them, if it blocks them.
func (p *pod) callSigpending(th *thread, n *linux.Notif) {
	size := n.Args[1]
	if size > 8 {
		p.respond(n.ID, -int64(unix.EINVAL))
		return
	}
	call := &syscallfwd.Call{
		TID: int32(th.tid), NR: unix.SYS_RT_SIGPENDING, Args: [6]uint64{0, 8}, ArgReloc: 1, Size: 8, Data: make([]byte, 8),
		Outs: []syscallfwd.Out{{Len: 8, Kind: syscallfwd.OutFixed}},
	}
	th.special = func(th *thread, r *syscallfwd.Reply) {
		if signals.IsRestart(r.Ret) {
			p.restart(th, th.notifID, -signals.ERESTARTNOINTR)
			return
		}
		st, err := linux.ReadStatus(th.here)
		if err != nil {
			return // it is dying
		}
		set := st.SigPnd | st.ShdPnd
		if len(r.Outs) == 12 {
			set |= le64(r.Outs[4:])
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], set&st.SigBlk)
		if _, err := linux.WriteMemory(th.here, th.args[0], b[:size]); err != nil {
			p.respond(th.notifID, -int64(unix.EFAULT))
			return
		}
		p.respond(th.notifID, 0)
	}
	p.send(th, call)
}

// callPrctl: options about memory and the thread itself are the guest's own
// kernel's, the name is both's, the rest is home's.
func (p *pod) callPrctl(th *thread, n *linux.Notif) {
	switch int(n.Args[0]) {
	case unix.PR_SET_VMA, unix.PR_GET_TID_ADDRESS, unix.PR_GET_TIMERSLACK, unix.PR_SET_TIMERSLACK,
		unix.PR_SET_THP_DISABLE, unix.PR_GET_THP_DISABLE, unix.PR_GET_TSC, unix.PR_SET_TSC,
		unix.PR_SET_FPEXC, unix.PR_GET_FPEXC, unix.PR_SET_UNALIGN, unix.PR_GET_UNALIGN:
		p.pass(n.ID)
	case unix.PR_SET_NAME:
		id := n.ID
		th.special = func(th *thread, r *syscallfwd.Reply) {
			if signals.IsRestart(r.Ret) {
				p.restart(th, id, -signals.ERESTARTNOINTR)
				return
			}
			p.pass(id) // EFAULT is the same here
		}
		p.forward(th, n.Args)
	case unix.PR_GET_SECCOMP:
		p.respond(n.ID, 0)
	case unix.PR_SET_SECCOMP, unix.PR_SET_MM, unix.PR_SET_SYSCALL_USER_DISPATCH:
		p.bringHome(th, "prctl("+itoa(int(n.Args[0]))+")")
	default:
		p.forward(th, n.Args)
	}
}
