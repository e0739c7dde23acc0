package checkpoint

import (
	"slices"
	"testing"

	"homing/internal/linux"
)

func TestFoundLooksOnce(t *testing.T) {
	f := Found{}
	m := linux.Mapping{Start: 0x10000, End: 0x20000, Ino: 7, Offset: 0x4000} // shows 0x4000 to 0x14000
	if got := f.add(m); !slices.Equal(got, []linux.Range{{Start: 0x10000, End: 0x20000}}) {
		t.Fatalf("first: %x", got)
	}
	if got := f.add(m); len(got) != 0 {
		t.Fatalf("again: %x", got)
	}
	m = linux.Mapping{Start: 0x50000, End: 0x70000, Ino: 7} // shows 0 to 0x20000
	want := []linux.Range{{Start: 0x50000, End: 0x54000}, {Start: 0x64000, End: 0x70000}}
	if got := f.add(m); !slices.Equal(got, want) {
		t.Fatalf("around it: %x, want %x", got, want)
	}
	m.Ino = 8
	if got := f.add(m); len(got) != 1 {
		t.Fatalf("another object: %x", got)
	}
}
