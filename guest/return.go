package guest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
)

// What cannot be done away is done at home: the process is fetched by home
// (take.go) and makes the call there natively.

// bringHome has home fetch the process of a thread, which waits in a trapped
// call. It does not block.
func (p *pod) bringHome(th *thread, reason string) {
	pr := th.proc
	pr.mu.Lock()
	leaving, shares := pr.freezing, pr.sharesVM
	pr.mu.Unlock()
	if shares {
		// A vfork child lives in its parent's memory, which cannot be in two places.
		p.log.Warn("call refused to a vfork child", "pid", pr.pid, "reason", reason)
		p.respond(th.notifID, -int64(unix.ENOSYS))
		return
	}
	th.mu.Lock()
	th.wants = true
	th.mu.Unlock()
	if leaving {
		p.restart(th, th.notifID, -signals.ERESTARTNOINTR) // it is made again where it goes
		return
	}
	go p.wantHome(pr, reason)
}

// wantHome asks home to fetch a process and waits until it has.
func (p *pod) wantHome(pr *proc, reason string) {
	req := protocol.WantHomeRequest{ProcRef: protocol.ProcRef{PID: pr.pid, Gen: pr.gen}, Reason: reason}
	if err := p.sess.Request(p.sess.Context(), protocol.WantHome, req, &protocol.Empty{}); err != nil {
		p.log.Error("process cannot go home", "pid", pr.pid, "reason", reason, "err", err)
		p.out.Send(protocol.Died, protocol.DiedMessage{PID: pr.pid, Gen: pr.gen, Reason: fmt.Sprintf("needs to come home for %s: %v", reason, err)})
		return
	}
	p.host.countHome(reason)
	p.log.Info("process went home", "pid", pr.pid, "reason", reason)
}

// onCore brings a process home that is about to dump core, so that the core is
// its own. The thread stands in the delivery stop of the deadly signal.
func (p *pod) onCore(m protocol.DefaultMessage) {
	th := p.threadHome(m.TID)
	if th == nil || len(m.Info) != linux.SiginfoSize {
		return
	}
	si := signals.Info(m.Info)
	if err := p.tr.Do(func() { th.delivering = &si }); err != nil {
		return
	}
	go p.wantHome(th.proc, "dumps core ("+unix.SignalName(unix.Signal(signals.Signo(&si)))+")")
}
