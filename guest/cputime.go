package guest

import (
	"context"
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/syscallfwd"
)

// Processor time. A guest is charged for what its bodies used, on whichever
// node, and for nothing that its shadow does at home: so getrusage(2), times(2),
// /proc/self/stat and the CPU clocks, which are the body's kernel's own, agree.
// execve can give a process a new body; what the earlier ones used is kept here.
// Home adds it to what wait4(2) tells of a child, see shadow/account.go.
//
// A process that comes from elsewhere brings what it has used so far, and each
// of its threads likewise: all its clocks go on from there. What the kernel does
// to build a body is not the program's.

// accounts is what a pod knows of processor time beyond its kernel's counters.
type accounts struct {
	mu      sync.Mutex
	earlier map[int]protocol.CPUTime // pid at home: used by earlier bodies
	shown   map[int]protocol.CPUTime // pid at home: what else its clocks show; it is not charged
	final   map[int]protocol.CPUTime // ended guests, for home to ask
	order   []int                    // of final
	told    map[int]protocol.CPUTime // body: what was said of it last
	start   uint64                   // KiB: VmPeak of the pod's first process; constant
}

// tick is the unit of times in /proc and of times(2): USER_HZ.
const tick = int64(1e9 / 100)

// keepFinal is how many ended guests are remembered.
const keepFinal = 1024

func (a *accounts) of(pid int) protocol.CPUTime {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.earlier[pid]
}

func (a *accounts) carry(pid int, t protocol.CPUTime) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t == (protocol.CPUTime{}) {
		delete(a.earlier, pid)
		return
	}
	if a.earlier == nil {
		a.earlier = map[int]protocol.CPUTime{}
	}
	a.earlier[pid] = t
}

// show notes what a process's clocks show besides what it has used away.
func (a *accounts) show(pid int, t protocol.CPUTime) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shown == nil {
		a.shown = map[int]protocol.CPUTime{}
	}
	if a.shown[pid] = t; t == (protocol.CPUTime{}) {
		delete(a.shown, pid)
	}
}

func (a *accounts) besides(pid int) protocol.CPUTime {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown[pid]
}

// end notes the total of a process whose last body has ended with ru.
func (a *accounts) end(pid int, ru *unix.Rusage) {
	t := protocol.CPUTime{User: ru.Utime.Nano(), System: ru.Stime.Nano(), MaxRSS: ru.Maxrss, MinFlt: ru.Minflt, MajFlt: ru.Majflt}
	a.mu.Lock()
	defer a.mu.Unlock()
	t = t.Plus(a.earlier[pid])
	delete(a.earlier, pid)
	delete(a.shown, pid)
	if a.final == nil {
		a.final = map[int]protocol.CPUTime{}
	}
	if _, ok := a.final[pid]; !ok {
		a.order = append(a.order, pid)
	}
	a.final[pid] = t
	if len(a.order) > keepFinal {
		delete(a.final, a.order[0])
		a.order = a.order[1:]
	}
}

func (a *accounts) ended(pid int) protocol.CPUTime {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.final[pid]
}

// monotonic sees to it that neither part of a body's account ever goes back,
// whatever the ticks say, as cputime_adjust in the kernel does.
func (a *accounts) monotonic(body int, t protocol.CPUTime) protocol.CPUTime {
	a.mu.Lock()
	defer a.mu.Unlock()
	sum, last := t.User+t.System, a.told[body]
	t.System = max(t.System, last.System)
	t.User = sum - t.System
	if t.User < last.User {
		t.User = last.User
		t.System = max(sum-t.User, last.System)
	}
	if a.told == nil {
		a.told = map[int]protocol.CPUTime{}
	}
	a.told[body] = t
	return t
}

func (a *accounts) forget(body int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.told, body)
}

// keepPeak notes how much memory a process had before it executed another
// program: getrusage(2) remembers.
func (a *accounts) keepPeak(pid int, maxRSS int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.earlier[pid]
	t.MaxRSS = max(t.MaxRSS, maxRSS)
	if a.earlier == nil {
		a.earlier = map[int]protocol.CPUTime{}
	}
	a.earlier[pid] = t
}

// noteStart notes the size of the process from which bodies are cloned.
func (a *accounts) noteStart(init int) {
	if b, err := os.ReadFile("/proc/" + itoa(init) + "/status"); err == nil {
		a.start = statusKB(string(b), "VmPeak")
	}
}

// statusKB reads a figure of /proc/PID/status.
func statusKB(status, key string) uint64 {
	_, rest, ok := strings.Cut(status, "\n"+key+":")
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimLeft(line, "\t "), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// earlier is what a process, or a thread of it, used before its present body.
func (p *pod) earlier(pr *proc, tid int) protocol.CPUTime {
	if tid == 0 {
		return p.acct.of(pr.pid).Plus(p.acct.besides(pr.pid))
	}
	if th := p.threadHome(tid); th != nil && th.proc == pr {
		return th.spent()
	}
	return protocol.CPUTime{}
}

// spent is what a thread used before its present body.
func (th *thread) spent() protocol.CPUTime {
	return protocol.CPUTime{User: th.before[0].Load(), System: th.before[1].Load()}
}

// came makes the clocks of a process that stands ready to go on show what they
// showed where it comes from. Tracer's thread.
func (p *pod) came(pr *proc, shown protocol.CPUTime, threads []*thread, im *checkpoint.Image) {
	own := timeOf(pr.body, 0)
	shown.User -= own.User
	shown.System -= own.System
	p.acct.show(pr.pid, shown)
	if lim, ok := im.Limits[unix.RLIMIT_CPU]; ok {
		p.limit(pr, unix.RLIMIT_CPU, lim)
	}
	for i, th := range threads {
		own := threadTime(pr.body, th.here)
		th.before[0].Store(im.Threads[i].Used[0] - own.User)
		th.before[1].Store(im.Threads[i].Used[1] - own.System)
	}
}

// used is what a process has used in all its bodies on this node.
func (p *pod) used(pr *proc) protocol.CPUTime {
	t := timeOf(pr.body, 0)
	return p.acct.monotonic(pr.body, t).Plus(p.acct.of(pr.pid))
}

// shown is what a process's clocks show.
func (p *pod) shown(pr *proc) protocol.CPUTime { return p.used(pr).Plus(p.acct.besides(pr.pid)) }

// threadTime is what one thread of a body has used.
func threadTime(body, tid int) protocol.CPUTime {
	return timeOf(body, tid)
}

// timeOf reads the account of a process, or of a thread of it. The sum is exact;
// /proc tells, in ticks, which part of it was the kernel's.
func timeOf(pid, tid int) protocol.CPUTime {
	var t protocol.CPUTime
	stat := "/proc/" + itoa(pid) + "/stat"
	if tid != 0 {
		stat = "/proc/" + itoa(pid) + "/task/" + itoa(tid) + "/stat"
	}
	b, err := os.ReadFile(stat)
	if err != nil {
		return t
	}
	_, f, ok := splitStat(string(b))
	if !ok {
		return t
	}
	num := func(field int) int64 { // numbered as in proc_pid_stat(5)
		v, _ := strconv.ParseInt(f[field-3], 10, 64) // printed by the kernel
		return v
	}
	t.MinFlt, t.MajFlt = num(10), num(12)
	t.User, t.System = num(14)*tick, num(15)*tick
	if sum, err := linux.CPUTime(pid, tid); err == nil {
		t.System = min(t.System, sum)
		t.User = sum - t.System
	}
	return t
}

// callClock serves clock_gettime of a clock that counts processor time, see
// clock_getcpuclockid(3).
func (p *pod) callClock(th *thread, n *linux.Notif) {
	const kindMask, sched, perThread = 3, 2, 4
	id := int32(n.Args[0])
	pid, tid := 0, 0
	var before protocol.CPUTime
	switch number := int(^(id >> 3)); {
	case id == unix.CLOCK_THREAD_CPUTIME_ID, id < 0 && id&(kindMask|perThread) == sched|perThread && number == 0:
		pid, tid, before = th.proc.body, th.here, th.spent()
	case id == unix.CLOCK_PROCESS_CPUTIME_ID, id < 0 && id&(kindMask|perThread) == sched && number == 0:
		pid, before = th.proc.body, p.earlier(th.proc, 0)
	case id < 0 && id&(kindMask|perThread) == sched|perThread:
		if of := p.threadHome(number); of != nil && of.proc == th.proc {
			pid, tid, before = of.proc.body, of.here, of.spent()
		}
	case id < 0 && id&(kindMask|perThread) == sched:
		if of := p.procHome(number); of != nil {
			pid, before = of.body, p.earlier(of, 0)
		}
	}
	own, err := int64(0), error(nil)
	if before.User+before.System != 0 {
		own, err = linux.CPUTime(pid, tid)
	}
	if before.User+before.System == 0 || err != nil {
		p.pass(n.ID)
		return
	}
	ns := own + before.User + before.System
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(ns/1e9))
	binary.LittleEndian.PutUint64(b[8:], uint64(ns%1e9))
	if _, err := linux.WriteMemory(th.here, n.Args[1], b[:]); err != nil {
		p.respond(n.ID, -int64(unix.EFAULT))
		return
	}
	p.respond(n.ID, 0)
}

// callRusage answers getrusage and times: home tells of children, the rest is
// the body's.
func (p *pod) callRusage(th *thread, n *linux.Notif) {
	call, err := th.enc.Marshal(th.entry, int32(th.tid), n.Args, memory(th.here), maxImage)
	if err != nil {
		p.bringHome(th, th.entry.Name+": "+err.Error())
		return
	}
	th.special = func(th *thread, r *syscallfwd.Reply) {
		if r.Ret >= 0 && len(r.Outs) >= 4 {
			out := r.Outs[4:]
			switch {
			case th.entry.Nr == unix.SYS_TIMES && len(out) == 32:
				p.putTimes(th, out)
			case th.entry.Nr == unix.SYS_GETRUSAGE && len(out) == rusageSize:
				p.putRusage(th, int32(th.args[0]), out)
			}
		}
		p.respond(th.notifID, th.call.Scatter(memory(th.here), r))
	}
	p.send(th, call)
}

const rusageSize = 144

// putTimes writes the first two words of struct tms.
func (p *pod) putTimes(th *thread, tms []byte) {
	t := p.shown(th.proc)
	binary.LittleEndian.PutUint64(tms, uint64(t.User/tick))
	binary.LittleEndian.PutUint64(tms[8:], uint64(t.System/tick))
}

// putRusage writes what of struct rusage the body's kernel knows.
func (p *pod) putRusage(th *thread, who int32, ru []byte) {
	const rusageSelf, rusageThread = 0, 1
	var t protocol.CPUTime
	switch who {
	case rusageSelf:
		t = p.shown(th.proc)
	case rusageThread:
		t = threadTime(th.proc.body, th.here).Plus(th.spent())
	default:
		return
	}
	put := func(word int, v int64) { binary.LittleEndian.PutUint64(ru[8*word:], uint64(v)) }
	put(0, t.User/1e9)
	put(1, t.User%1e9/1e3)
	put(2, t.System/1e9)
	put(3, t.System%1e9/1e3)
	put(4, max(t.MaxRSS, p.peakRSS(th.proc)))
	put(8, t.MinFlt)
	put(9, t.MajFlt)
	var voluntary, forced int64
	threads := []*thread{th}
	if who == rusageSelf {
		threads = p.threadsOf(th.proc)
	}
	for _, m := range threads {
		b, err := os.ReadFile("/proc/" + itoa(m.here) + "/status")
		if err != nil {
			continue // it is ending
		}
		voluntary += statusCount(string(b), "\nvoluntary_ctxt_switches:\t")
		forced += statusCount(string(b), "\nnonvoluntary_ctxt_switches:\t")
	}
	put(16, voluntary)
	put(17, forced)
}

func statusCount(status, key string) int64 {
	_, rest, ok := strings.Cut(status, key)
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	v, _ := strconv.ParseInt(line, 10, 64) // printed by the kernel
	return v
}

// peakRSS is a body's largest resident size so far, in KiB.
func (p *pod) peakRSS(pr *proc) int64 {
	b, err := os.ReadFile("/proc/" + itoa(pr.body) + "/status")
	if err != nil {
		return 0
	}
	s := string(b)
	return int64(max(statusKB(s, "VmHWM"), statusKB(s, "VmRSS")))
}

// bodyEnded closes the account of a process, unless it lives on: in the body of
// its next program, or elsewhere.
func (p *pod) bodyEnded(pr *proc, ru *unix.Rusage) {
	p.acct.forget(pr.body)
	pr.mu.Lock()
	replaced := pr.replaced
	pr.mu.Unlock()
	if !replaced {
		p.acct.end(pr.pid, ru)
	}
}

// endPeaks remembers, before a body is given another program, how large it was.
func (p *pod) endPeaks(pr *proc) {
	b, err := os.ReadFile("/proc/" + itoa(pr.body) + "/status")
	if err != nil {
		return // it is dying
	}
	s := string(b)
	p.acct.keepPeak(pr.pid, int64(max(statusKB(s, "VmHWM"), statusKB(s, "VmRSS"))))
	pr.peak.Store(statusKB(s, "VmPeak"))
}

// beginPeaks starts the record of a body's largest size anew, for the program
// it is given. The kernel can forget the resident peak; of the other we know
// where it stands, see overhead.hide.
func (p *pod) beginPeaks(pr *proc) {
	pr.peak.CompareAndSwap(0, p.acct.start)
	const resetResidentPeak = "5" // see proc_pid_clear_refs(5)
	if err := os.WriteFile("/proc/"+itoa(pr.body)+"/clear_refs", []byte(resetResidentPeak), 0); err != nil {
		p.log.Debug("resident peak not reset", "pid", pr.pid, "err", err)
	}
}

// total is what home is told of a process that ends or goes home.
func (p *pod) total(pr *proc) protocol.CPUTime {
	t := p.used(pr)
	t.MaxRSS = max(t.MaxRSS, p.peakRSS(pr))
	return t
}

// usage serves ProcUsage: home asks about a guest whose shadow was killed.
func (p *pod) usage(ctx context.Context, m protocol.ProcRef) (any, error) {
	for {
		pr := p.procHome(m.PID)
		if pr == nil {
			return p.acct.ended(m.PID), nil
		}
		select {
		case <-ctx.Done():
			return p.total(pr), nil
		case <-time.After(time.Millisecond):
		}
	}
}
