package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// Files of /proc that describe a guest's memory or processor time. Home opens
// them and tells which they are (package shadow, procfile.go, tells the story);
// here is the text that its reader should see: the body's own, without what is
// ours and with home's names for files.

// callOpen forwards an open. That it may be one of those files shows in the
// last component alone: how the path gets there (a symbolic link, a working
// directory, a descriptor) only home knows.
func (p *pod) callOpen(th *thread, n *linux.Notif) {
	call, err := th.enc.Marshal(th.entry, int32(th.tid), n.Args, memory(th.here), maxImage)
	if err != nil {
		p.bringHome(th, th.entry.Name+": "+err.Error())
		return
	}
	if describesProcess(call) {
		call.Flags |= protocol.CallProc
		th.special = p.opened
	}
	p.send(th, call)
}

// describesProcess tells whether the file an open names could be one of them.
func describesProcess(call *syscallfwd.Call) bool {
	path := 1
	if call.NR == unix.SYS_OPEN || call.NR == unix.SYS_CREAT {
		path = 0
	}
	off := call.Args[path]
	if call.ArgReloc&(1<<path) == 0 || off >= uint64(len(call.Data)) {
		return false
	}
	b := call.Data[off:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	b = b[bytes.LastIndexByte(b, '/')+1:]
	switch string(b) { // does not allocate
	case "maps", "smaps", "smaps_rollup", "numa_maps", "stat", "statm", "status", "sched", "schedstat",
		"cmdline", "environ", "mem", "pagemap", "clear_refs":
		return true
	}
	return false
}

// opened answers an open that home has found to be such a file.
func (p *pod) opened(th *thread, r *syscallfwd.Reply) {
	if r.Flags&protocol.ReplyProc == 0 {
		p.respond(th.notifID, r.Ret)
		return
	}
	var f protocol.ProcFile
	if err := json.Unmarshal(r.Outs, &f); err != nil {
		p.sess.Close("malformed description of a /proc file")
		return
	}
	fd, target := r.Ret, p.procHome(f.PID)
	switch {
	case f.Closed && target == th.proc:
		p.bringHome(th, "open of /proc/self/"+f.Name)
		return
	case f.Closed:
		go p.openAtHome(th, target, f.Name)
		return
	case target == nil: // ended meanwhile: what home has is all there is
		p.respond(th.notifID, fd)
		return
	}
	text, err := p.procText(target, th, &f)
	if err != nil {
		p.log.Debug("/proc file not emulated", "pid", f.PID, "name", f.Name, "err", err)
		p.respond(th.notifID, fd)
		return
	}
	p.fill(th, fd, text)
}

// openAtHome brings another process home, whose memory the caller is about to
// open; the caller's open is then made again.
func (p *pod) openAtHome(th *thread, target *proc, name string) {
	if target != nil {
		target.mu.Lock()
		shares := target.sharesVM
		target.mu.Unlock()
		if !shares {
			p.wantHome(target, "open of its /proc/"+itoa(target.pid)+"/"+name)
		}
	}
	p.respond(th.notifID, -signals.ERESTARTNOINTR)
}

// textPart is how much text goes in one call.
const textPart = 1 << 20

// fill has home turn descriptor fd into one that reads as text.
func (p *pod) fill(th *thread, fd int64, text []byte) {
	part := text[:min(len(text), textPart)]
	rest := text[len(part):]
	call := &syscallfwd.Call{
		TID: int32(th.tid), NR: protocol.CallFill, Args: [6]uint64{uint64(fd), closeOnExec(th)},
		Data: part, Size: uint32(len(part)),
	}
	if len(rest) > 0 {
		call.Args[2] = 1
	}
	th.special = func(th *thread, r *syscallfwd.Reply) {
		switch {
		case signals.IsRestart(r.Ret): // given up for a signal, which waits until the call is complete
			p.fill(th, fd, text)
		case r.Ret < 0:
			p.log.Warn("/proc file not filled", "tid", th.tid, "err", unix.Errno(-r.Ret))
			p.respond(th.notifID, fd) // home's text is better than none
		case len(rest) > 0:
			p.fill(th, fd, rest)
		default:
			p.respond(th.notifID, fd)
		}
	}
	p.send(th, call)
}

// closeOnExec tells whether a thread's open asked for O_CLOEXEC.
func closeOnExec(th *thread) uint64 {
	flags := uint64(0)
	switch th.entry.Nr {
	case unix.SYS_OPEN:
		flags = th.args[1]
	case unix.SYS_OPENAT:
		flags = th.args[2]
	case unix.SYS_OPENAT2:
		var how [8]byte
		if _, err := linux.ReadMemory(th.here, th.args[2], how[:]); err == nil {
			flags = le64(how[:])
		}
	}
	if flags&unix.O_CLOEXEC != 0 {
		return 1
	}
	return 0
}

var errNotEmulated = errors.New("home's own text is right")

// procText makes the text of a file about process pr, for a reader.
func (p *pod) procText(pr *proc, reader *thread, f *protocol.ProcFile) ([]byte, error) {
	dir := "/proc/" + itoa(pr.body)
	tid := f.PID
	if f.TID != 0 {
		th := p.threadHome(f.TID)
		if th == nil || th.proc != pr {
			return nil, errors.New("no such thread")
		}
		tid = f.TID
		dir += "/task/" + itoa(th.here)
	}
	own, err := os.ReadFile(dir + "/" + f.Name)
	if err != nil {
		return nil, err
	}
	v := &procView{hidden: linux.Range{Start: stubAddr, End: stubEnd}, origin: p.shownAs}
	switch f.Name {
	case "maps", "smaps":
		return v.maps(own), nil
	case "numa_maps", "smaps_rollup":
		maps, err := linux.Mappings(pr.body)
		if err != nil {
			return nil, err
		}
		if f.Name == "smaps_rollup" {
			return v.rollup(own, maps), nil
		}
		return v.numaMaps(own, maps), nil
	case "cmdline", "environ", "schedstat":
		return own, nil
	case "sched":
		return mergeSched(f.Home, own), nil
	case "statm":
		return mergeStatm(own, p.overhead(pr)), nil
	case "stat":
		return mergeStat(f.Home, string(own), p.stateOf(pr, reader, tid), p.overhead(pr), p.earlier(pr, f.TID)), nil
	case "status":
		return mergeStatus(f.Home, string(own), p.stateOf(pr, reader, tid), p.overhead(pr)), nil
	}
	return nil, errNotEmulated
}

// stateOf is the state of a thread as its own kernel would tell: whoever reads
// about itself is running.
func (p *pod) stateOf(pr *proc, reader *thread, tid int) byte {
	if reader.tid == tid {
		return 'R'
	}
	if p.isStopped(pr) {
		return 'T'
	}
	return 0 // not known here
}

// isStopped tells whether job control has stopped a process.
func (p *pod) isStopped(pr *proc) bool {
	stopped := false
	_ = p.tr.Do(func() { stopped = pr.stopped }) // ErrClosed: the pod is ending
	return stopped
}

// overhead is what of a body's memory is ours.
func (p *pod) overhead(pr *proc) overhead {
	o := overhead{code: stubSize / 1024, data: (tableSize + scratchSize) / 1024, peak: pr.peak.Load(), imagesInMemory: p.host.cache.inMemory()}
	pm, err := os.Open("/proc/" + itoa(pr.body) + "/pagemap")
	if err != nil {
		return o
	}
	defer pm.Close()
	regions, err := linux.ScanPages(int(pm.Fd()), stubAddr, stubEnd, 0, 0, linux.PageIsPresent, 0, nil)
	if err != nil {
		return o
	}
	for _, r := range regions {
		o.resident += (r.End - r.Start) / 1024
	}
	return o
}
