package twin

import (
	"testing"

	"golang.org/x/sys/unix"
)

func BenchmarkUnchanged(b *testing.B) {
	const size = 16 << 20
	fd := memfd(b, size)
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	for i := range mem {
		mem[i] = byte(i * 7)
	}
	c := New(fd, size)
	if _, err := c.Changes(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		if p, err := c.Changes(); err != nil || len(p) != 0 {
			b.Fatal(len(p), err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	const size = 16 << 20
	fd := memfd(b, size)
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	for i := range mem {
		mem[i] = byte(i*7) | 1
	}
	b.SetBytes(size)
	for b.Loop() {
		if _, err := New(fd, size).Changes(); err != nil {
			b.Fatal(err)
		}
	}
}
