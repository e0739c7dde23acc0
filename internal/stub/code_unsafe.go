package stub

/*
extern char homing_stub_start[], homing_stub_end[], homing_stub_batch[], homing_stub_trap[];
extern char homing_stub_loop[], homing_stub_call[], homing_stub_called[], homing_stub_begin[], homing_stub_said[];
static unsigned long homing_stub_offset(int i) {
	char *at[] = {homing_stub_batch, homing_stub_trap, homing_stub_loop, homing_stub_call, homing_stub_called, homing_stub_end, homing_stub_begin, homing_stub_said};
	return at[i] - homing_stub_start;
}
*/
import "C"

import "unsafe"

// Offsets of the entry points from the start of Code.
var (
	Batch  = uint64(C.homing_stub_offset(0)) // run the table
	Trap   = uint64(C.homing_stub_offset(1)) // the int3 after it
	Loop   = uint64(C.homing_stub_offset(2)) // the resident loop
	Begin  = uint64(C.homing_stub_offset(6)) // from here to Call the arguments are loaded
	Call   = uint64(C.homing_stub_offset(3)) // the syscall instruction of a forwarded call: rip here means not begun
	Called = uint64(C.homing_stub_offset(4)) // the instruction after it
	Said   = uint64(C.homing_stub_offset(7)) // the call is Done: what is requested now is another one
)

// Code returns the machine code, PageSize long at most.
func Code() []byte {
	return C.GoBytes(unsafe.Pointer(&C.homing_stub_start), C.int(C.homing_stub_offset(5)))
}
