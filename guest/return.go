package guest

import "homing/internal/protocol"

// bringHome sends a process home, where it makes the call natively.
func (p *pod) bringHome(th *thread, reason string) {
	p.host.countHome(reason)
	p.log.Error("process cannot go home yet", "pid", th.proc.pid, "reason", reason)
	p.out.Send(protocol.Died, protocol.DiedMessage{PID: th.proc.pid, Reason: "needs to come home: " + reason})
}
