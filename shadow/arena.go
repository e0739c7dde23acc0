package shadow

import (
	"errors"
	"fmt"
	"sync"

	"homing/internal/linux"
	"homing/internal/stub"
)

// The arena is one SysV shared memory segment for all shadows of a job. SysV
// rather than a memfd: it is attached by number, so a shadow at its descriptor
// limit can still attach it, and no descriptor of ours is ever in a program's
// table. It is sparse: untouched slots cost nothing.
const (
	slotStride = 2 << 20
	slotCount  = 4096
	arenaSize  = slotStride * slotCount

	// tableSize is the room for injected calls in a slot's data, the rest is
	// scratch.
	tableSize = 64 << 10
)

// reuseAfter keeps a released slot aside until so many others were released:
// a lane may still be looking at its end.
const reuseAfter = 64

var errNoSlot = errors.New("job has too many threads away (limit 4096)")

type arena struct {
	shm *linux.SharedMemory

	mu   sync.Mutex
	next int
	free []int
}

func newArena() (*arena, error) {
	shm, err := linux.NewSharedMemory(arenaSize)
	if err != nil {
		return nil, fmt.Errorf("make the arena (SysV shared memory, see kernel.shmmax and kernel.shmall): %w", err)
	}
	return &arena{shm: shm}, nil
}

func (a *arena) alloc() (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.next
	switch n := len(a.free); {
	case n > reuseAfter || n > 0 && a.next == slotCount:
		i = a.free[0]
		a.free = a.free[1:]
	case a.next < slotCount:
		a.next++
	default:
		return 0, errNoSlot
	}
	*a.slot(i) = stub.Slot{}
	return i, nil
}

func (a *arena) release(i int) {
	a.mu.Lock()
	a.free = append(a.free, i)
	a.mu.Unlock()
}

func (a *arena) bytes(i int) []byte      { return a.shm.Data[i*slotStride : (i+1)*slotStride] }
func (a *arena) slot(i int) *stub.Slot   { return stub.At(a.bytes(i)) }
func (a *arena) data(i int) []byte       { return a.bytes(i)[stub.SlotHeader:] }
func slotAddr(base uint64, i int) uint64 { return base + uint64(i)*slotStride }
