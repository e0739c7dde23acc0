package transfer

import (
	"context"
	"time"
)

// pacer limits the rate of what is written: a bucket that holds no more than
// what flows in a few milliseconds, so that others on the same link are never
// behind a long burst.
type pacer struct {
	rate float64 // bytes a second; 0: no limit
	at   time.Time
}

const pacerBurst = 2 * time.Millisecond

// piece is how much may be written at once.
func (p *pacer) piece() int {
	if p.rate == 0 {
		return 1 << 30
	}
	return min(max(int(p.rate*pacerBurst.Seconds()), 16<<10), 256<<10)
}

// wait waits until n more bytes may be written.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p.rate == 0 {
		return nil
	}
	p.spend(time.Now(), n)
	d := time.Until(p.at)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// delay is how long to wait before anything may be written.
func (p *pacer) delay(now time.Time) time.Duration {
	if p.rate == 0 {
		return 0
	}
	return p.at.Sub(now)
}

// spend notes that n bytes are written.
func (p *pacer) spend(now time.Time, n int) {
	if p.rate == 0 {
		return
	}
	if p.at.Before(now.Add(-pacerBurst)) {
		p.at = now.Add(-pacerBurst)
	}
	p.at = p.at.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
}
