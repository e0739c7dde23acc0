package stub

import "testing"

func TestCodeFitsAPage(t *testing.T) {
	c := Code()
	if len(c) == 0 || len(c) > 4096 {
		t.Fatalf("stub is %d bytes long", len(c))
	}
	if c[Trap] != 0xcc {
		t.Fatalf("Trap points at %#x, want int3", c[Trap])
	}
	if c[Call] != 0x0f || c[Call+1] != 0x05 || Called != Call+2 {
		t.Fatalf("Call does not point at the syscall instruction")
	}
}
