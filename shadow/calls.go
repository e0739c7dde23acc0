package shadow

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/protocol"
	"homing/internal/stub"
	"homing/signals"
	"homing/syscallfwd"
)

// forwardedCloneFlags are the flags that the shadow's own clone takes: what is
// shared is then the kernel's business. Those about memory of the guest
// (stack, TLS, tid pointers) take effect there.
const forwardedCloneFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_PIDFD |
	unix.CLONE_VFORK | unix.CLONE_PARENT | unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_IO | 0xff

// serveClone makes a shadow for a new guest thread or process.
// Args: flags with the exit signal, and in Args[2] where the pidfd goes.
func (s *Supervisor) serveClone(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	slot, err := s.arena.alloc()
	if err != nil {
		s.log.Warn("thread refused", "pid", th.proc.pid, "err", err)
		s.fail(call, unix.EAGAIN, reply)
		return
	}
	flags := call.Args[0]
	call.Args[0] = flags & forwardedCloneFlags
	own := s.arena.slot(th.slot)
	th.clone = &cloneRequest{slot: slot, flags: flags}
	th.childSlot = slotAddr(th.proc.arena, slot)
	ret, gone := s.execute(th, call)
	th.childSlot = 0
	th.vforking = own.Load() == vforkAnswered
	if gone { // after the child was made, perhaps
		_ = s.tr.Do(func() { // ErrClosed: the job has ended
			if th.clone != nil {
				s.arena.release(slot)
			}
		})
	} else if ret < 0 {
		s.arena.release(slot)
	}
	s.answer(th, call, ret, gone, reply)
	if ret > 0 && !gone {
		reply.Outs = binary.LittleEndian.AppendUint64(reply.Outs, th.childGen)
	}
}

// serveExec executes a new program at home and answers with its image.
// Args[5] is the guest's signal mask, which the program inherits.
func (s *Supervisor) serveExec(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	mask := call.Args[5]
	call.Args[5] = 0
	if path := execString(call.Data, call.Args[0]); call.NR == unix.SYS_EXECVE && privileged(th.proc.pid, path) {
		s.execPrivileged(th, call, mask, path, reply)
		return
	}
	s.setMask(th, mask)
	th.exec = nil
	ret, gone := s.execute(th, call)
	if ret == -int64(unix.ETXTBSY) && !gone && s.shared.count.Load() > 0 {
		s.sweepShared() // it may be us who have it open
		ret, gone = s.execute(th, call)
	}
	if th.exec == nil {
		if !gone {
			s.restoreMask(th)
		}
		s.answer(th, call, ret, gone, reply)
		return
	}
	res := th.exec
	th.exec = nil
	if res.err != nil {
		*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyHome, Outs: append(reply.Outs[:0], res.home...)}
		return
	}
	th.proc.unsent.Store(res)
	*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyExec, Outs: reply.Outs[:0]}
	s.packImage(th, res, reply)
}

// execPrivileged executes a program that gains rights: traced by an ordinary
// user it would not, so it is let go first and stays at home.
func (s *Supervisor) execPrivileged(th *thread, call *syscallfwd.Call, mask uint64, path string, reply *syscallfwd.Reply) {
	ret, isHome, err := s.execReleased(th, mask, func() (int64, bool) { return s.execute(th, call) })
	if err != nil {
		s.log.Error("cannot release a process for a privileged program", "pid", th.proc.pid, "path", path, "err", err)
		_ = unix.Kill(th.proc.pid, unix.SIGKILL) // ESRCH: it is gone already
		*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyGone, Outs: reply.Outs[:0]}
		return
	}
	if !isHome {
		s.restoreMask(th)
		s.answer(th, call, ret, false, reply)
		return
	}
	reason := "executes " + path + ", which has rights of its own"
	_ = s.tr.Do(func() { // ErrClosed: the job is ending
		for _, t := range s.of(th.proc) {
			s.remove(t.tid)
			s.dropThread(t)
		}
		s.isHome(th.proc, reason, protocol.CPUTime{})
	})
	*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyHome, Outs: append(reply.Outs[:0], reason...)}
}

// inlinePages is how many bytes of pages go with the reply itself; more go over
// the bulk connection.
const inlinePages = 512 << 10

func (s *Supervisor) packImage(th *thread, res *execResult, reply *syscallfwd.Reply) {
	inline := res.pages
	if len(res.pages) > inlinePages {
		at := th.proc.site()
		res.image.Bulk = at.sess.NextBulkID()
		go s.sendBulk(at, res.image.Bulk, res.pages)
		inline = nil
	}
	meta, err := json.Marshal(res.image)
	if err != nil {
		panic(err) // plain data
	}
	reply.Outs = binary.LittleEndian.AppendUint32(reply.Outs, uint32(len(meta)))
	reply.Outs = append(reply.Outs, meta...)
	reply.Outs = append(reply.Outs, inline...)
}

func (s *Supervisor) sendBulk(at *site, id uint64, p []byte) {
	if err := at.sess.BulkSend(id, p); err != nil {
		s.log.Error("pages not sent", "err", err)
	}
}

// restoreMask gives a shadow thread the mask of our loop again.
func (s *Supervisor) restoreMask(th *thread) {
	var mask uint64
	if s.tr.Do(func() { mask = th.proc.shadowMask(th) }) == nil {
		s.setMask(th, mask)
	}
}

func (s *Supervisor) setMask(th *thread, mask uint64) {
	c := syscallfwd.Call{NR: unix.SYS_RT_SIGPROCMASK, ArgReloc: 2, Size: 8, Data: make([]byte, 8)}
	binary.LittleEndian.PutUint64(c.Data, mask)
	c.Args = [6]uint64{unix.SIG_SETMASK, 0, 0, 8}
	s.execute(th, &c)
}

// serveSigaction mirrors a disposition: the home kernel must know what is
// ignored and how children are reaped. Handlers themselves stay away.
// Args: signal, 0 default / 1 ignored / 2 caught, sa_flags, whether the guest
// blocks the signal.
func (s *Supervisor) serveSigaction(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	kind := call.Args[1]
	sig, p := int(call.Args[0]), th.proc
	if sig < 1 || sig > 64 {
		s.fail(call, unix.EINVAL, reply)
		return
	}
	ignored := kind == 1 || kind == 0 && signals.DefaultIgnored&signals.Bit(sig) != 0
	if !ignored && call.Args[3] == 0 {
		s.dropPending(th, sig)
	}
	c := syscallfwd.Call{Seq: call.Seq, NR: unix.SYS_RT_SIGACTION, ArgReloc: 2, Size: 32, Data: make([]byte, 32)}
	handler, flags := kind, call.Args[2]&(signals.NoChildStop|signals.NoChildWait)
	if kind == 2 {
		handler, flags = th.proc.stub+stub.Trap, flags|signals.Restorer
	}
	binary.LittleEndian.PutUint64(c.Data, handler)
	binary.LittleEndian.PutUint64(c.Data[8:], flags)
	binary.LittleEndian.PutUint64(c.Data[16:], th.proc.stub+stub.Trap)
	c.Args = [6]uint64{call.Args[0], 0, 0, 8}
	ret, gone := s.execute(th, &c)
	if ret == 0 && !gone {
		_ = s.tr.Do(func() { // ErrClosed: the job is ending
			p.caught &^= signals.Bit(sig)
			if kind == 2 {
				p.caught |= signals.Bit(sig)
			}
			s.setIgnored(p, sig, ignored)
		})
	}
	s.answer(th, call, ret, gone, reply)
}

// dropPending makes the home kernel forget a signal that arrived while the guest
// ignored it, as it would have at once. The shadow blocks such signals, so
// sigtimedwait can take them; setting SIG_IGN for a moment would do it, too,
// but lose the status of a child that ends just then.
func (s *Supervisor) dropPending(th *thread, sig int) {
	c := syscallfwd.Call{NR: unix.SYS_RT_SIGTIMEDWAIT, ArgReloc: 1<<0 | 1<<2, Size: 24, Data: make([]byte, 24)}
	binary.LittleEndian.PutUint64(c.Data, signals.Bit(sig)) // and a timeout of 0
	c.Args = [6]uint64{0, 0, 8, 8}
	for {
		if ret, gone := s.execute(th, &c); ret <= 0 || gone {
			return
		}
	}
}

// serveSignalfd notes which signals descriptors of the process read. Args[4] are
// those that the guest blocks in all threads: they are kept here from now on.
func (s *Supervisor) serveSignalfd(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	if call.ArgReloc&2 != 0 && call.Args[1]+8 <= uint64(len(call.Data)) {
		th.proc.signalfd.Or(binary.LittleEndian.Uint64(call.Data[call.Args[1]:]))
	}
	blocked := call.Args[4]
	call.Args[4] = 0
	ret, gone := s.execute(th, call)
	if ret >= 0 && !gone && blocked != 0 {
		s.keepAll(th.proc, blocked)
	}
	s.answer(th, call, ret, gone, reply)
}

// keepAll has all threads of a process block signals for a signalfd, and waits
// until they do, or a moment if one of them cannot stop.
func (s *Supervisor) keepAll(p *process, set uint64) {
	_ = s.tr.Do(func() { // ErrClosed: the job is ending
		for _, th := range s.of(p) {
			th.kept |= set
		}
		s.remaskAll(p)
	})
	for range 100 {
		done := true
		_ = s.tr.Do(func() { // likewise
			for _, th := range s.of(p) {
				done = done && !th.remask
			}
		})
		if done {
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// serveUnblock makes a shadow thread unblock signals that were kept pending for
// a signalfd; they arrive like any other.
func (s *Supervisor) serveUnblock(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	_ = s.tr.Do(func() { // ErrClosed: the job is ending
		for _, other := range s.of(th.proc) {
			other.kept &^= call.Args[0]
			if other != th {
				s.remaskThread(other)
			}
		}
	})
	c := syscallfwd.Call{Seq: call.Seq, NR: unix.SYS_RT_SIGPROCMASK, ArgReloc: 2, Size: 8, Data: make([]byte, 8)}
	binary.LittleEndian.PutUint64(c.Data, call.Args[0])
	c.Args = [6]uint64{unix.SIG_UNBLOCK, 0, 0, 8}
	ret, gone := s.execute(th, &c)
	s.answer(th, call, ret, gone, reply)
}

// noteExit takes up the processor time that an exiting guest reports.
func (s *Supervisor) noteExit(th *thread, call *syscallfwd.Call) {
	if call.NR == unix.SYS_EXIT && th.tid == th.proc.pid {
		s.leaderExits(th.proc)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := call.Args; a[1]|a[2]|a[3] != 0 {
		th.proc.cpu = protocol.CPUTime{
			User: int64(a[1]), System: int64(a[2]), MaxRSS: int64(a[3]), MinFlt: int64(a[4]), MajFlt: int64(a[5]),
		}
		th.proc.told = true
	}
	clear(call.Args[1:])
}

// serveWait adds to a child's resource use what its guest used away.
func (s *Supervisor) serveWait(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	ret, gone := s.execute(th, call)
	s.answer(th, call, ret, gone, reply)
	if gone || ret < 0 {
		return
	}
	s.creditChild(th, call, ret, reply)
}

// processFile looks at what descriptor fd of the process is, for mapping.
func (s *Supervisor) serveMmap(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	prot, flags, fd := call.Args[2], call.Args[3], int(int32(call.Args[4]))
	own, err := openProcessFD(th.proc.pid, fd)
	if err != nil {
		s.fail(call, unix.EBADF, reply)
		return
	}
	mode, err := unix.FcntlInt(uintptr(own), unix.F_GETFL, 0)
	if err != nil {
		unix.Close(own)
		s.fail(call, unix.EBADF, reply)
		return
	}
	const mapTypeMask = 0xf
	shared := flags&mapTypeMask != unix.MAP_PRIVATE
	switch {
	case mode&unix.O_PATH != 0:
		unix.Close(own)
		s.fail(call, unix.EBADF, reply)
		return
	case mode&unix.O_ACCMODE == unix.O_WRONLY,
		shared && prot&unix.PROT_WRITE != 0 && mode&unix.O_ACCMODE == unix.O_RDONLY:
		unix.Close(own)
		s.fail(call, unix.EACCES, reply)
		return
	}
	file, errno := s.share(th, own, mode, prot, shared)
	switch {
	case errno != 0:
		unix.Close(own)
		s.fail(call, errno, reply)
		return
	case file != nil:
		unix.Close(own)
		s.replyFile(call, *file, reply)
		return
	case shared && mode&unix.O_ACCMODE != unix.O_RDONLY:
		unix.Close(own)
		s.repatriate(call, reply, "shared writable mapping of a file")
		return
	}
	f, ok := s.files.adopt(own)
	if !ok {
		s.repatriate(call, reply, "mapping of something that is not a regular file")
		return
	}
	s.replyFile(call, f, reply)
}

// replyFile answers an mmap with what is to be mapped.
func (s *Supervisor) replyFile(call *syscallfwd.Call, f checkpoint.File, reply *syscallfwd.Reply) {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // plain data
	}
	*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyFile, Outs: append(reply.Outs[:0], b...)}
}
