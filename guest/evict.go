package guest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"homing/internal/linux"
	"homing/internal/protocol"
)

// The owner of this machine wants it back: all guests lose the processor at
// once, then each goes home.

// EvictReport tells what an eviction did.
type EvictReport struct {
	Guests  int
	Stopped time.Duration // until none of them ran any more
	Gone    time.Duration // until all that could go were gone
	Left    []string      // those that could not, and why; they stand still and are asked to go again
}

// present is a guest that is to go.
type present struct {
	pod *pod
	*proc
	shares bool // a vfork child: it executes a program soon, in a body of its own
}

// Evict sends all guests home. It returns when they are gone, or cannot go. Who is
// born or arrives meanwhile stands still from the beginning, and goes, too.
func (h *Host) Evict(ctx context.Context, progress func(string)) (EvictReport, error) {
	start := time.Now()
	defer h.unpark()
	var r EvictReport
	gone := map[protocol.ProcRef]bool{} // who has been here; whether it has been said that it is home
	for {
		here := h.park()
		for _, g := range here {
			for !g.shares && !g.pod.still(g.proc) {
				if err := pause(ctx, 100*time.Microsecond); err != nil {
					return r, err
				}
			}
			gone[g.ref()] = gone[g.ref()]
		}
		r.Guests = len(gone)
		if r.Stopped == 0 {
			r.Stopped = time.Since(start)
			progress(fmt.Sprintf("%d guests stand still after %v", r.Guests, r.Stopped.Round(10*time.Microsecond)))
		}
		r.Gone = time.Since(start)
		if len(here) == 0 || len(r.Left) > 0 {
			return r, nil
		}
		h.sendAll(ctx, here, progress, func(g present, err error) {
			switch {
			case err != nil:
				r.Left = append(r.Left, fmt.Sprintf("%d: %v", g.pid, err))
			case !gone[g.ref()] && g.pod.procOf(g.ref()) == nil:
				gone[g.ref()] = true
				progress(fmt.Sprintf("%d is home", g.pid))
			}
		})
		if len(r.Left) == 0 {
			if err := pause(ctx, time.Millisecond); err != nil {
				return r, err
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// sendAll has the homes of guests fetch them, and says what came of each.
func (h *Host) sendAll(ctx context.Context, here []present, progress func(string), done func(present, error)) {
	pods := map[*pod][]present{}
	for _, g := range here {
		if !g.shares {
			pods[g.pod] = append(pods[g.pod], g)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for p, guests := range pods {
		wg.Go(func() { // one after the other: home takes one at a time
			for _, g := range guests {
				err := p.sendAway(ctx, g.proc, progress)
				mu.Lock()
				done(g, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// park takes the processor from all guests, and from those to come until unpark.
func (h *Host) park() []present {
	var here []present
	for _, p := range h.openPods() {
		_ = p.tr.Do(func() { // ErrClosed: the pod is ending
			p.parked = true
			for _, pr := range p.guests() {
				pr.mu.Lock()
				g := present{p, pr, pr.sharesVM}
				pr.mu.Unlock()
				here = append(here, g)
				if pr.parked || g.shares {
					continue
				}
				pr.parked = true
				for _, th := range p.threadsOf(pr) {
					if !th.held {
						_ = linux.Interrupt(th.here) // ESRCH: it is dying
					}
				}
			}
		})
	}
	return here
}

func (h *Host) unpark() {
	for _, p := range h.openPods() {
		_ = p.tr.Do(func() { p.parked = false }) // ErrClosed: the pod is ending
	}
}

// sendAway has home fetch a process, for as long as the process lives and that
// makes sense.
func (p *pod) sendAway(ctx context.Context, pr *proc, progress func(string)) error {
	req := protocol.WantHomeRequest{ProcRef: pr.ref(), Reason: "evicted"}
	for tries := 1; ; tries++ {
		err := p.sess.Request(ctx, protocol.WantHome, req, &protocol.Empty{})
		if err == nil || p.procOf(req.ProcRef) != pr {
			if err == nil {
				p.host.countHome(req.Reason)
			}
			return nil
		}
		if tries == 10 { // it does not pass by itself
			progress(fmt.Sprintf("%d stands still, and cannot go home yet: %v", pr.pid, err))
		}
		select {
		case <-ctx.Done():
			return err
		case <-p.sess.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}
