package shadow

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// handBack serves Requeue: signals that waited on the node, which all threads of
// the process block, are queued here, where a signalfd reads them, before those
// that have come since. The guest's thread stands still meanwhile.
func (s *Supervisor) handBack(at *site, _ context.Context, req protocol.RequeueRequest) (any, error) {
	th := s.thread(req.TID)
	if th == nil || th.proc.site() != at || !th.use() {
		return protocol.Empty{}, nil // it has ended
	}
	defer s.unuse(th)
	var numbers uint64 // of those whose order matters
	for _, info := range slices.Concat(req.Own, req.Shared) {
		if len(info) != linux.SiginfoSize {
			return nil, fmt.Errorf("siginfo of %d bytes", len(info))
		}
		si := signals.Info(info)
		if sig := signals.Signo(&si); sig >= signals.FirstRealTime && sig <= 64 {
			numbers |= signals.Bit(sig)
		}
	}
	if len(s.of(th.proc)) == 1 { // as the thread's own they come before what waits
		req.Own, req.Shared, numbers = slices.Concat(req.Own, req.Shared), nil, 0
	}
	later := s.takePending(th, numbers)
	for _, info := range req.Own {
		s.queue(th, info, true)
	}
	for _, info := range slices.Concat(req.Shared, later) {
		s.queue(th, info, false)
	}
	return protocol.Empty{}, nil
}

// unkeep lets signals go that are kept for a signalfd: the node to which their
// process has moved does not know of them yet. It will have them kept again.
func (s *Supervisor) unkeep(p *process) {
	for _, th := range s.of(p) {
		if th.kept != 0 {
			th.kept = 0
			s.remaskThread(th)
		}
	}
}

// takePending takes the signals of a set, which the process blocks, that wait here.
func (s *Supervisor) takePending(th *thread, set uint64) (infos [][]byte) {
	if set == 0 {
		return nil
	}
	const infoAt = 24 // after the set and a timeout of 0
	c := syscallfwd.Call{NR: unix.SYS_RT_SIGTIMEDWAIT, ArgReloc: 1<<0 | 1<<1 | 1<<2, Size: infoAt + linux.SiginfoSize, Data: make([]byte, infoAt)}
	binary.LittleEndian.PutUint64(c.Data, set)
	c.Args = [6]uint64{0, infoAt, 8, 8}
	for {
		ret, gone := s.execute(th, &c)
		if ret <= 0 || gone {
			return infos
		}
		infos = append(infos, append([]byte(nil), s.arena.data(th.slot)[infoAt:c.Size]...))
	}
}

// queue has a thread send itself, or its process, a signal as it was.
func (s *Supervisor) queue(th *thread, info []byte, own bool) {
	si := signals.Info(info)
	pid, sig := uint64(th.proc.pid), uint64(signals.Signo(&si))
	c := syscallfwd.Call{NR: unix.SYS_RT_SIGQUEUEINFO, ArgReloc: 1 << 2, Size: linux.SiginfoSize, Data: info}
	c.Args = [6]uint64{pid, sig}
	if own {
		c.NR, c.ArgReloc = unix.SYS_RT_TGSIGQUEUEINFO, 1<<3
		c.Args = [6]uint64{pid, uint64(th.tid), sig}
	}
	if ret, gone := s.execute(th, &c); ret < 0 && !gone {
		s.log.Error("signal not queued", "pid", pid, "sig", sig, "err", unix.Errno(-ret))
	}
}
