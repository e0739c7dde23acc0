package guest

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
	"homing/syscallfwd"
)

// System V shared memory: home attaches and detaches, so that segments and their
// counts are right there; the body maps the pod's copy, with calls that are
// injected into the thread that asked.

// Flags of shmat(2).
const (
	shmReadOnly = 0o10000
	shmRound    = 0o20000
	shmRemap    = 0o40000
	shmExec     = 0o100000
)

// callShmat attaches a segment.
func (p *pod) callShmat(th *thread, n *linux.Notif) {
	addr, flags := n.Args[1], n.Args[2]
	if addr&(checkpoint.PageSize-1) != 0 && flags&shmRound != 0 {
		addr &^= checkpoint.PageSize - 1
	}
	if addr&(checkpoint.PageSize-1) != 0 || addr == 0 && flags&shmRemap != 0 {
		p.respond(n.ID, -int64(unix.EINVAL))
		return
	}
	p.forwardRaw(th, unix.SYS_SHMAT, n.Args, func(th *thread, r *syscallfwd.Reply) {
		if r.Flags&protocol.ReplyFile == 0 {
			p.respond(th.notifID, r.Ret)
			return
		}
		var f checkpoint.File
		if err := json.Unmarshal(r.Outs, &f); err != nil || f.Dev != checkpoint.SegmentDev || f.Size <= 0 {
			p.sess.Close("malformed description of a segment")
			return
		}
		in, ids := p.occupied(th, addr, uint64(f.Size))
		if in && flags&shmRemap == 0 {
			p.detachAtHome(th, []uint64{f.Ino}, func() { p.respond(th.notifID, -int64(unix.EINVAL)) })
			return
		}
		p.detachAtHome(th, ids, func() {
			go func() { // may take as long as its content does
				fd, err := p.content(f, th)
				if errors.Is(err, errGone) {
					p.detachAtHome(th, []uint64{f.Ino}, func() { p.restart(th, th.notifID, -signals.ERESTARTNOINTR) })
					return
				}
				if err != nil {
					p.log.Error("content of a segment", "path", f.Path, "err", err)
					p.detachAtHome(th, []uint64{f.Ino}, func() { p.respond(th.notifID, -int64(unix.ENOMEM)) })
					return
				}
				p.tr.Post(func() { p.attach(th, fd, uint64(f.Size), addr, flags) })
			}()
		})
	})
}

// occupied tells whether there is something where a segment is to be attached,
// and which segments are replaced by it.
func (p *pod) occupied(th *thread, addr, size uint64) (in bool, ids []uint64) {
	maps, err := linux.Mappings(th.proc.body)
	if addr == 0 || err != nil {
		return false, nil
	}
	for _, m := range maps {
		if m.Start >= addr+size || m.End <= addr {
			continue
		}
		in = true
		if f, known := p.origin(m.Dev, m.Ino); known && f.Dev == checkpoint.SegmentDev && m.Start >= addr && m.Offset == 0 {
			ids = append(ids, f.Ino)
		}
	}
	return in, ids
}

// detachAtHome has the shadow detach segments, one after the other.
func (p *pod) detachAtHome(th *thread, ids []uint64, then func()) {
	if len(ids) == 0 {
		then()
		return
	}
	p.forwardRaw(th, unix.SYS_SHMDT, [6]uint64{ids[0]}, func(th *thread, _ *syscallfwd.Reply) {
		p.detachAtHome(th, ids[1:], then)
	})
}

// attach maps a segment for a thread that waits in its shmat. Tracer's thread.
func (p *pod) attach(th *thread, fd int, size, addr, flags uint64) {
	prot, how := uint64(unix.PROT_READ), uint64(unix.MAP_SHARED)
	if flags&shmReadOnly == 0 {
		prot |= unix.PROT_WRITE
	}
	if flags&shmExec != 0 {
		prot |= unix.PROT_EXEC
	}
	switch {
	case addr != 0 && flags&shmRemap != 0:
		how |= unix.MAP_FIXED
	case addr != 0:
		how |= unix.MAP_FIXED_NOREPLACE
	}
	size = (size + checkpoint.PageSize - 1) &^ (checkpoint.PageSize - 1)
	p.inject(th, map[int]int{0: fd}, func(body *tracer.Body) int64 {
		res, err := body.Inject(th.here, []tracer.Call{tracer.C(unix.SYS_MMAP, addr, size, prot, how, 0, 0)})
		if err != nil {
			p.log.Debug("segment not attached", "tid", th.tid, "err", err)
			return -int64(unix.EINVAL)
		}
		_, _ = body.Inject(th.here, []tracer.Call{tracer.C(unix.SYS_CLOSE, 0)}) // cannot fail: it has just been opened
		return int64(res[0])
	})
}

// callShmdt detaches what was attached at an address.
func (p *pod) callShmdt(th *thread, n *linux.Notif) {
	pieces, id, ok := p.attached(th, n.Args[0])
	if !ok {
		p.respond(n.ID, -int64(unix.EINVAL))
		return
	}
	p.forwardRaw(th, unix.SYS_SHMDT, [6]uint64{id}, func(th *thread, r *syscallfwd.Reply) {
		if r.Ret < 0 {
			p.respond(th.notifID, r.Ret)
			return
		}
		p.tr.Post(func() {
			p.inject(th, nil, func(body *tracer.Body) int64 {
				var calls []tracer.Call
				for _, m := range pieces {
					calls = append(calls, tracer.C(unix.SYS_MUNMAP, m.Start, m.End-m.Start))
				}
				if _, err := body.Inject(th.here, calls); err != nil {
					p.log.Error("segment not detached", "tid", th.tid, "err", err)
				}
				return 0
			})
		})
	})
}

// attached finds the pieces of the segment that was attached at addr, as
// shmdt(2) does: by their distance from it.
func (p *pod) attached(th *thread, addr uint64) (pieces []linux.Mapping, id uint64, ok bool) {
	maps, err := linux.Mappings(th.proc.body)
	if err != nil {
		return nil, 0, false
	}
	for _, m := range maps {
		if m.Start < addr || m.Start-addr != m.Offset || !sharesFile(m.Path) {
			continue
		}
		f, known := p.origin(m.Dev, m.Ino)
		if !known || f.Dev != checkpoint.SegmentDev || ok && f.Ino != id {
			continue
		}
		pieces, id, ok = append(pieces, m), f.Ino, true
	}
	return pieces, id, ok
}

// inject has a thread, which waits in a trapped call, execute calls of ours,
// with files by the numbers that those name, and go on with f's result. Tracer's
// thread.
func (p *pod) inject(th *thread, files map[int]int, f func(*tracer.Body) int64) {
	if linux.Interrupt(th.here) != nil || !p.respond(th.notifID, 0) || p.waitStop(th.here) != nil {
		return // it is dying
	}
	var saved linux.Regs
	if linux.GetRegs(th.here, &saved) != nil {
		return
	}
	mask, err := tracer.BlockSignals(th.here)
	if err != nil {
		return
	}
	th.files, th.added = files, map[int]bool{}
	th.injecting.Store(true)
	saved.Rax = uint64(f(p.body()))
	th.files, th.added = nil, nil
	if err := p.resume(th, &saved, mask); err != nil && err != unix.ESRCH {
		p.log.Error("cannot resume a thread", "tid", th.tid, "err", err)
	}
}
