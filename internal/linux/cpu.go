package linux

/*
#include <cpuid.h>

// homing_xcr0 is the set of extended-state components that the kernel has
// enabled, 0 if there are none.
static unsigned long homing_xcr0(void) {
	unsigned int a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (unsigned long)d << 32 | a;
}

// homing_xcomponent tells where a component lies in the standard format.
static int homing_xcomponent(int i, unsigned int *size, unsigned int *offset) {
	unsigned int c, d;
	return __get_cpuid_count(0xd, i, size, offset, &c, &d);
}
*/
import "C"

// XComponent is where a component of the extended processor state lies in the
// standard format of XSAVE, which NT_X86_XSTATE has.
type XComponent struct{ Bit, Offset, Size int }

// XComponents lists the components of this processor's extended state that are
// behind the first 576 bytes, and the set of all (XCR0).
func XComponents() (xcr0 uint64, components []XComponent) {
	xcr0 = uint64(C.homing_xcr0())
	for bit := 2; bit < 63; bit++ {
		var size, offset C.uint
		if xcr0&(1<<bit) != 0 && C.homing_xcomponent(C.int(bit), &size, &offset) != 0 {
			components = append(components, XComponent{bit, int(offset), int(size)})
		}
	}
	return xcr0, components
}
