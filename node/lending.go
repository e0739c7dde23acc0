package node

import (
	"fmt"
	"sync"
	"time"
)

// Lending is whether a node takes another guest: its owner may have taken the
// machine back for a while, and may have said how many guests are enough. Those
// that are here, and the children that they make, are not its business.
type Lending struct {
	name string
	max  int // guests; 0: no limit
	now  func() time.Time

	mu       sync.Mutex
	until    time.Time // not lent before
	evicting bool      // guests are being sent home
}

// NewLending describes a node of the given name (empty: the host's) that takes
// at most maxGuests guests (0: any number).
func NewLending(name string, maxGuests int) *Lending {
	if name == "" {
		name = defaultName()
	}
	return &Lending{name: cleanName(name), max: maxGuests, now: time.Now}
}

// Admit says whether another guest may come where so many are; the error is
// shown to the user at home.
func (l *Lending) Admit(present int) error {
	l.mu.Lock()
	until, evicting := l.until, l.evicting
	l.mu.Unlock()
	if evicting {
		return fmt.Errorf("node %s is not lending at the moment (its owner is evicting guests)", l.name)
	}
	if l.now().Before(until) {
		return fmt.Errorf("node %s is not lending at the moment (its owner evicted guests; until %s)", l.name, until.Format("15:04 MST"))
	}
	if l.max > 0 && present >= l.max {
		return fmt.Errorf("node %s has %d guests and takes no more than %d: choose another, or try again when some have ended", l.name, present, l.max)
	}
	return nil
}

// beginEviction refuses guests until endEviction, which refuses them for d more.
func (l *Lending) beginEviction() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evicting = true
}

func (l *Lending) endEviction(d time.Duration) (until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evicting = false
	l.until = l.now().Add(d)
	return l.until
}

// Resume takes guests again.
func (l *Lending) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
}

// Paused tells whether guests are refused at the moment, and until when.
func (l *Lending) Paused() (until time.Time, paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until, l.now().Before(l.until)
}
