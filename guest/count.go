package guest

import (
	"context"
	"time"

	"homing/internal/protocol"
)

func (h *Host) countGuest() {
	h.mu.Lock()
	h.stats.Guests++
	h.mu.Unlock()
}

func (h *Host) countCPU(ns int64) {
	h.mu.Lock()
	h.stats.CPUSeconds += float64(ns) / 1e9
	h.mu.Unlock()
}

func (h *Host) countHome(reason string) {
	h.mu.Lock()
	h.stats.CameHome[reason]++
	h.mu.Unlock()
}

func (h *Host) countCall() { h.calls.Add(1) }

// context ends with the session.
func (p *pod) context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-p.sess.Done()
		cancel()
	}()
	return ctx
}

// reportInterval is how often home learns what its guests use, for `homing ps`.
const reportInterval = time.Second

// report tells home of the processor time of guests until the session ends.
func (p *pod) report() {
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	last := map[int]protocol.CPUTime{}
	for {
		select {
		case <-p.sess.Done():
			return
		case <-tick.C:
		}
		p.mu.RLock()
		procs := make([]*proc, 0, len(p.procs))
		for _, pr := range p.procs {
			procs = append(procs, pr)
		}
		p.mu.RUnlock()
		changed, now := map[int]protocol.CPUTime{}, map[int]protocol.CPUTime{}
		for _, pr := range procs {
			cpu := p.used(pr)
			now[pr.pid] = cpu
			if last[pr.pid] != cpu {
				changed[pr.pid] = cpu
			}
		}
		last = now
		if len(changed) > 0 {
			p.out.Send(protocol.Report, protocol.ReportMessage{CPU: changed})
		}
	}
}
