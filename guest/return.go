package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
)

// Coming home:
//
//  1. All threads are asked to stop. Those that wait for a call at home give it
//     up first; its outcome is final, so nothing is lost or done twice.
//  2. Each stopped thread is put back to where it can go on without us: an
//     interrupted call is rewound to its syscall instruction, a thread inside
//     the vDSO is stepped out of it.
//  3. The body is captured and sent. From the moment home has answered, the
//     process runs there and the body is killed; if home refuses before it has
//     touched the shadow, the body runs on.

// freezeLimit bounds the wait for a process to stand still.
const freezeLimit = 10 * time.Second

// bringHome sends the process of a thread, which waits in a trapped call, home:
// the call is made there natively. It does not block.
func (p *pod) bringHome(th *thread, reason string) {
	pr := th.proc
	pr.mu.Lock()
	leaving := pr.freezing
	pr.freezing = true
	shares := pr.sharesVM
	pr.mu.Unlock()
	if shares {
		// A vfork child lives in its parent's memory, which cannot be in two places.
		pr.mu.Lock()
		pr.freezing = leaving
		pr.mu.Unlock()
		p.log.Warn("call refused to a vfork child", "pid", pr.pid, "reason", reason)
		p.respond(th.notifID, -int64(unix.ENOSYS))
		return
	}
	if leaving {
		p.restart(th, th.notifID, -signals.ERESTARTNOINTR) // it comes along
		return
	}
	go p.goHome(pr, th, reason)
}

func (p *pod) goHome(pr *proc, th *thread, reason string) {
	if err := p.sendHome(pr, th, reason); err != nil {
		p.log.Error("process cannot go home", "pid", pr.pid, "reason", reason, "err", err)
		p.out.Send(protocol.Died, protocol.DiedMessage{PID: pr.pid, Gen: pr.gen, Reason: fmt.Sprintf("needs to come home for %s: %v", reason, err)})
		return
	}
	p.host.countHome(reason)
	p.log.Info("process went home", "pid", pr.pid, "reason", reason)
}

func (p *pod) sendHome(pr *proc, th *thread, reason string) error {
	ctx, cancel := context.WithCancel(p.sess.Context())
	defer cancel()
	family := p.family(pr)
	for _, m := range family {
		m.mu.Lock()
		m.freezing = true
		m.mu.Unlock()
		starter := th
		if m != pr {
			starter = nil
		}
		if err := p.freeze(ctx, m, starter); err != nil {
			return err
		}
	}
	req := protocol.ComeHomeRequest{}
	var pages [][]byte
	for _, m := range family {
		im, err := p.capture(m)
		if err != nil {
			return err
		}
		buf := make([]byte, im.PageBytes())
		if err := im.ReadPages(m.body, buf); err != nil {
			return fmt.Errorf("read memory: %w", err)
		}
		img := protocol.ProcImage{Image: *im, Reason: reason, CPU: p.total(m)}
		if len(buf) > 0 {
			img.Bulk = p.sess.NextBulkID()
		}
		req.Procs = append(req.Procs, img)
		pages = append(pages, buf)
	}
	p.out.Flush() // what was said of signals before must be known at home
	for i, img := range req.Procs {
		if img.Bulk != 0 {
			go func() { _ = p.sess.BulkSend(img.Bulk, pages[i]) }() // a failure shows in the request
		}
	}
	if err := p.sess.Request(ctx, protocol.ComeHome, req, &protocol.Empty{}); err != nil {
		return err
	}
	return p.tr.Do(func() {
		for _, m := range family {
			m.mu.Lock()
			m.replaced = true
			m.mu.Unlock()
			_ = unix.Kill(m.body, unix.SIGKILL) // ESRCH: gone already
		}
	})
}

// family lists the processes that share anonymous memory with pr: they move
// together.
func (p *pod) family(pr *proc) []*proc {
	all := map[*proc]map[uint64]bool{}
	p.mu.RLock()
	procs := make([]*proc, 0, len(p.procs))
	for _, m := range p.procs {
		procs = append(procs, m)
	}
	p.mu.RUnlock()
	for _, m := range procs {
		maps, err := linux.Mappings(m.body)
		if err != nil {
			continue // it is ending
		}
		for _, v := range maps {
			if v.Shared && strings.HasPrefix(v.Path, "/dev/zero") {
				if all[m] == nil {
					all[m] = map[uint64]bool{}
				}
				all[m][v.Ino] = true
			}
		}
	}
	in := []*proc{pr}
	for i := 0; i < len(in); i++ {
		for m, objects := range all {
			if slices.Contains(in, m) {
				continue
			}
			for o := range objects {
				if all[in[i]][o] {
					in = append(in, m)
					break
				}
			}
		}
	}
	return in
}

// freeze brings all threads of a process to a stop. starter, if any, waits in a
// trapped call that nobody will answer otherwise.
func (p *pod) freeze(ctx context.Context, pr *proc, starter *thread) error {
	deadline := time.Now().Add(freezeLimit)
	asked := map[*thread]bool{}
	for {
		threads := p.threadsOf(pr)
		if len(threads) == 0 {
			return errors.New("it ended meanwhile")
		}
		all := true
		for _, th := range threads {
			if !asked[th] {
				asked[th] = true
				p.askToStop(th, th == starter)
			}
		}
		if err := p.tr.Do(func() {
			for _, th := range threads {
				if !th.held || th.vfork != nil {
					all = false
				}
			}
		}); err != nil {
			return err
		}
		if all {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it did not stand still within %v", freezeLimit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Microsecond):
		}
	}
}

func (p *pod) askToStop(th *thread, starter bool) {
	_ = p.tr.Do(func() { // ErrClosed: the pod is ending
		if !th.held {
			_ = linux.Interrupt(th.here) // ESRCH: it is dying
		}
	})
	th.mu.Lock()
	th.freezing = true
	calling, seq, id := th.calling, th.seq, th.notifID
	th.mu.Unlock()
	switch {
	case calling:
		p.out.Send(protocol.Abandon, protocol.AbandonMessage{TID: th.tid, Seq: seq})
	case starter:
		p.respond(id, -signals.ERESTARTNOINTR)
	}
}

// capture makes the image of a process that stands still.
func (p *pod) capture(pr *proc) (*checkpoint.Image, error) {
	im := &checkpoint.Image{PID: pr.pid, Actions: map[int]checkpoint.Action{}}
	var err error
	if doErr := p.tr.Do(func() { err = p.captureThreads(pr, im) }); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, err
	}
	brk := im.Layout.Brk
	maps, err := linux.Mappings(pr.body)
	if err != nil {
		return nil, err
	}
	hidden := []linux.Range{{Start: stubAddr, End: stubEnd}}
	if err := im.CaptureMemory(pr.body, maps, hidden, func(m linux.Mapping) (checkpoint.File, bool) {
		return p.host.cache.origin(m.Dev, m.Ino)
	}); err != nil {
		return nil, err
	}
	im.Layout.Brk = brk
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for sig, a := range pr.actions {
		if a.Handler != signals.DefaultHandler || a.Flags != 0 {
			im.Actions[sig] = a
		}
	}
	return im, nil
}

func (p *pod) captureThreads(pr *proc, im *checkpoint.Image) error {
	maps, err := linux.Mappings(pr.body)
	if err != nil {
		return err
	}
	vdso := vdsoOf(maps)
	for _, th := range p.threadsOf(pr) {
		if err := p.settle(th, vdso); err != nil {
			return err
		}
		t, err := checkpoint.CaptureThread(th.here)
		if err != nil {
			return err
		}
		t.TID = th.tid
		rewind(&t.Regs)
		if th.delivering != nil {
			t.Delivering = th.delivering
		}
		th.injecting.Store(true)
		if _, err := tracer.BlockSignals(th.here); err != nil {
			return err
		}
		var brk *uint64
		if th.tid == pr.pid {
			brk = &im.Layout.Brk
		}
		if err := checkpoint.CaptureInjected(th.here, p.body(), &t, brk); err != nil {
			return err
		}
		uncarryAll(t.Pending)
		im.Threads = append(im.Threads, t)
	}
	if im.Timers, err = p.captureTimers(pr); err != nil {
		return err
	}
	if im.Pending, err = checkpoint.PendingSignals(pr.body, true); err != nil {
		return err
	}
	uncarryAll(im.Pending)
	return nil
}

func uncarryAll(sigs []signals.Info) {
	for i := range sigs {
		signals.Uncarry(sigs[i][:])
	}
}

// rewind puts a thread that was stopped inside a system call back to its
// syscall instruction, as the kernel does to restart it.
func rewind(r *linux.Regs) {
	if int64(r.Orig_rax) >= 0 && signals.IsRestart(int64(r.Rax)) {
		r.Rax = r.Orig_rax
		r.Rip -= 2
	}
	r.Orig_rax = ^uint64(0)
}

// settle steps a thread out of the vDSO: what it has read there belongs to
// this node's time namespace.
func (p *pod) settle(th *thread, vdso []linux.Mapping) error {
	inside := func(rip uint64) bool {
		for _, m := range vdso {
			if m.Path == "[vdso]" && rip >= m.Start && rip < m.End {
				return true
			}
		}
		return false
	}
	var r linux.Regs
	if err := linux.GetRegs(th.here, &r); err != nil {
		return err
	}
	if !inside(r.Rip) {
		return nil
	}
	mask, err := tracer.BlockSignals(th.here)
	if err != nil {
		return err
	}
	th.injecting.Store(true) // a fallback call of the vDSO is the kernel's here
	for range 100000 {
		if err := linux.Step(th.here); err != nil {
			return err
		}
		if _, err := p.tr.Wait(th.here); err != nil {
			return err
		}
		if err := linux.GetRegs(th.here, &r); err != nil {
			return err
		}
		if !inside(r.Rip) {
			return linux.SetSigmask(th.here, mask)
		}
	}
	return errors.New("a thread does not leave the vDSO")
}

// onCore brings a process home that is about to dump core, so that the core is
// its own. The thread stands in the delivery stop of the deadly signal.
func (p *pod) onCore(m protocol.DefaultMessage) {
	th := p.threadHome(m.TID)
	if th == nil || len(m.Info) != linux.SiginfoSize {
		return
	}
	pr := th.proc
	pr.mu.Lock()
	busy := pr.freezing
	pr.freezing = true
	pr.mu.Unlock()
	if busy {
		return
	}
	si := signals.Info(m.Info)
	if err := p.tr.Do(func() { th.delivering = &si }); err != nil {
		return
	}
	go p.goHome(pr, nil, "dumps core ("+unix.SignalName(unix.Signal(signals.Signo(&si)))+")")
}
