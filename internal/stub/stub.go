// Package stub is the machine code that runs inside the processes Homing works
// on, and the layout of the memory it shares with them.
//
// Two loops, both position independent and without a stack:
//
//  1. batch executes a table of system calls on behalf of a tracer and traps:
//     any number of calls costs one stop.
//  2. loop is what a shadow thread does: it waits on its slot of the arena for
//     a call, executes it, stores the result and wakes the supervisor. No
//     ptrace stop is on this path.
//
// Trust: the slot is written by the supervisor and by the shadow, which has
// the job's rights. The supervisor takes only the result from it, bounded.
package stub

// EntrySize is the size of one entry of the batch table.
const EntrySize = 56

// PutEntry writes one call into a batch table.
func PutEntry(b []byte, nr uint64, args ...uint64) {
	_ = b[:EntrySize]
	put(b, nr)
	for i := range 6 {
		v := uint64(0)
		if i < len(args) {
			v = args[i]
		}
		put(b[8+8*i:], v)
	}
}

// States of a slot.
const (
	Idle      = 0
	Requested = 1
	Done      = 2
	Gone      = 3 // written by the supervisor only: the thread will not answer
)

// SlotHeader is the part of a slot before its data: where the call image goes.
const SlotHeader = 4096
