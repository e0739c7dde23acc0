package guest

import (
	"context"
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
