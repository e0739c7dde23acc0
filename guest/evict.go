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

// Evict sends all guests home. It returns when they are gone, or cannot go.
func (h *Host) Evict(ctx context.Context, progress func(string)) (EvictReport, error) {
	start := time.Now()
	all := map[*pod][]*proc{}
	for _, p := range h.openPods() {
		all[p] = p.guests()
	}
	var r EvictReport
	for p, procs := range all {
		r.Guests += len(procs)
		p.park(procs)
	}
	for p, procs := range all {
		for _, pr := range procs {
			for !p.still(pr) {
				select {
				case <-ctx.Done():
					return r, ctx.Err()
				case <-time.After(100 * time.Microsecond):
				}
			}
		}
	}
	r.Stopped = time.Since(start)
	progress(fmt.Sprintf("%d guests stand still after %v", r.Guests, r.Stopped.Round(10*time.Microsecond)))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for p, procs := range all {
		wg.Go(func() { // one after the other: home takes one at a time
			for _, pr := range procs {
				err := p.sendAway(ctx, pr)
				mu.Lock()
				if err != nil {
					r.Left = append(r.Left, fmt.Sprintf("%d: %v", pr.pid, err))
				} else {
					progress(fmt.Sprintf("%d is home", pr.pid))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.Gone = time.Since(start)
	return r, nil
}

// park takes the processor from processes.
func (p *pod) park(procs []*proc) {
	_ = p.tr.Do(func() { // ErrClosed: the pod is ending
		for _, pr := range procs {
			pr.parked = true
			for _, th := range p.threadsOf(pr) {
				if !th.held {
					_ = linux.Interrupt(th.here) // ESRCH: it is dying
				}
			}
		}
	})
}

// sendAway has home fetch a process, for as long as the process lives and that
// makes sense.
func (p *pod) sendAway(ctx context.Context, pr *proc) error {
	req := protocol.WantHomeRequest{ProcRef: protocol.ProcRef{PID: pr.pid, Gen: pr.gen}, Reason: "evicted"}
	for {
		err := p.sess.Request(ctx, protocol.WantHome, req, &protocol.Empty{})
		if err == nil || p.procOf(req.ProcRef) != pr {
			if err == nil {
				p.host.countHome(req.Reason)
			}
			return nil
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
