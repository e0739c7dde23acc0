package guest

import (
	"maps"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/syscallfwd"
)

// Limits are home's: it answers what they are and who may change them. Those on
// what a body uses, memory and processor time, take effect here as well.

// callPrlimit serves prlimit64 and setrlimit.
func (p *pod) callPrlimit(th *thread, n *linux.Notif) {
	resource, ptr, target := int(int32(n.Args[1])), n.Args[2], th.proc
	switch pid := int(int32(n.Args[0])); {
	case n.NR == unix.SYS_SETRLIMIT:
		resource, ptr = int(int32(n.Args[0])), n.Args[1]
	case pid != 0 && pid != target.pid:
		target = p.procHome(pid)
	}
	var raw [16]byte
	if ptr == 0 || target == nil || !checkpoint.LimitCarried(resource) {
		p.forward(th, n.Args)
		return
	}
	if _, err := linux.ReadMemory(th.here, ptr, raw[:]); err != nil {
		p.forward(th, n.Args)
		return
	}
	lim, id := unix.Rlimit{Cur: le64(raw[:]), Max: le64(raw[8:])}, n.ID
	th.special = func(th *thread, r *syscallfwd.Reply) {
		ret := r.Ret
		if ret >= 0 {
			ret = th.call.Scatter(memory(th.here), r)
			p.limit(target, resource, lim)
		}
		p.respond(id, ret)
	}
	p.forward(th, n.Args)
}

// applyLimits gives a new body the limits that its image carries.
func (p *pod) applyLimits(pr *proc, limits map[int]unix.Rlimit) {
	for resource, lim := range limits {
		if checkpoint.LimitCarried(resource) {
			p.limit(pr, resource, lim)
		}
	}
}

// limit sets a body's own limit as far as the node's limits allow. What is
// ours in the body is not counted; what earlier bodies used is.
func (p *pod) limit(pr *proc, resource int, lim unix.Rlimit) {
	pr.mu.Lock()
	if pr.limits == nil {
		pr.limits = map[int]unix.Rlimit{}
	}
	pr.limits[resource] = lim
	pr.mu.Unlock()
	switch resource {
	case unix.RLIMIT_AS:
		lim = mapLimit(lim, func(v uint64) uint64 { return v + (stubEnd - stubAddr) })
	case unix.RLIMIT_DATA:
		lim = mapLimit(lim, func(v uint64) uint64 { return v + tableSize + scratchSize })
	case unix.RLIMIT_CPU:
		t := p.earlier(pr, 0)
		used := uint64(max(0, t.User+t.System)) / 1e9
		lim = mapLimit(lim, func(v uint64) uint64 { return max(v, used+1) - used })
	}
	var now unix.Rlimit
	if unix.Prlimit(pr.body, resource, nil, &now) != nil || now == lim {
		return
	}
	if err := unix.Prlimit(pr.body, resource, &lim, nil); err == nil {
		return
	}
	now.Cur = min(lim.Cur, now.Max)
	if err := unix.Prlimit(pr.body, resource, &now, nil); err != nil && err != unix.ESRCH {
		p.log.Warn("limit not set", "pid", pr.pid, "resource", resource, "err", err)
	}
}

func mapLimit(lim unix.Rlimit, f func(uint64) uint64) unix.Rlimit {
	for _, v := range []*uint64{&lim.Cur, &lim.Max} {
		if *v < 1<<62 { // what is larger limits nothing
			*v = f(*v)
		}
	}
	return lim
}

func cloneLimits(m map[int]unix.Rlimit) map[int]unix.Rlimit { return maps.Clone(m) }
