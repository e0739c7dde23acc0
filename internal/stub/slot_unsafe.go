package stub

import (
	"encoding/binary"
	"structs"
	"sync/atomic"
	"unsafe"
)

func put(b []byte, v uint64) { binary.LittleEndian.PutUint64(b, v) }

// Slot is the head of an arena slot, shared with one shadow thread; the
// offsets are used by stub_amd64.S.
type Slot struct {
	_        structs.HostLayout
	State    uint32 // 0: futex word
	Sleepers uint32 // 4: set by the stub while it sleeps on State
	Spin     uint32 // 8: how often the stub looks before it sleeps
	Waiting  uint32 // 12: set by the supervisor while it sleeps on State
	NR       uint64 // 16
	Args     [6]uint64
	Ret      int64  // 72
	Child    uint64 // 80: address of the child's slot, for clone
}

// At returns the slot whose memory starts at b[0].
func At(b []byte) *Slot { return (*Slot)(unsafe.Pointer(&b[0])) }

// Load reads the state.
func (s *Slot) Load() uint32 { return atomic.LoadUint32(&s.State) }

// Store writes the state.
func (s *Slot) Store(v uint32) { atomic.StoreUint32(&s.State, v) }

// StubSleeps tells whether the stub needs a futex wake-up.
func (s *Slot) StubSleeps() bool { return atomic.LoadUint32(&s.Sleepers) != 0 }

// SetWaiting says whether the supervisor is about to sleep on the state.
func (s *Slot) SetWaiting(v uint32) { atomic.StoreUint32(&s.Waiting, v) }

// Result reads the result of a batch entry.
func Result(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
