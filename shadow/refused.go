package shadow

import (
	"fmt"

	"homing/internal/protocol"
	"homing/syscallfwd"

	"golang.org/x/sys/unix"
)

// runAtHome rebuilds a program here whose image has left but whose guest the
// node could not start: a program must not fail because it was to be moved.
func (s *Supervisor) runAtHome(p *process, why string) {
	res := p.unsent.Swap(nil)
	leader := s.thread(p.pid)
	if res == nil || leader == nil {
		return // it ran already, or is dead
	}
	s.log.Warn("program runs at home", "pid", p.pid, "reason", why)
	r := &returning{p: p, img: res.image, pages: res.pages, threads: []*thread{leader}, outcome: make([]*syscallfwd.Reply, 1), reason: why}
	err := s.rebuild(r, nil)
	if err == nil {
		if doErr := s.tr.Do(func() { err = s.letGo(r) }); doErr != nil {
			err = doErr
		}
	}
	if err != nil {
		s.log.Error("cannot run the program at home either", "pid", p.pid, "err", err)
		tellUser(p.pid, fmt.Sprintf("homing: %s, and it cannot run at home: %v\r\n", why, err))
		_ = unix.Kill(p.pid, unix.SIGKILL) // ESRCH: it is gone already
	}
}

// onRefused: the node could not start the guest of a program just executed.
func (s *Supervisor) onRefused(at *site, m protocol.DiedMessage) {
	if p := s.process(m.PID); p != nil && p.gen == m.Gen {
		go s.runAtHome(p, fmt.Sprintf("node %s cannot take it: %s", at.name, m.Reason))
	}
}
