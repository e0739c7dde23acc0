package syscallfwd

import (
	"errors"
	"slices"
)

// fakeMemory is guest memory made of separate pieces.
type fakeMemory struct {
	pieces []piece
	next   uint64
}

type piece struct {
	addr     uint64
	data     []byte
	readOnly bool
}

var errFault = errors.New("fault")

// put places data at an address of its own and returns it.
func (m *fakeMemory) put(data []byte) uint64 { return m.putAlign(data, 8) }

func (m *fakeMemory) putAlign(data []byte, align uint64) uint64 {
	if m.next == 0 {
		m.next = 0x10000
	}
	addr := roundUp(m.next, align)
	m.next = addr + uint64(len(data)) + 64
	m.pieces = append(m.pieces, piece{addr: addr, data: data})
	return addr
}

func (m *fakeMemory) at(addr uint64, n int) []byte {
	p := make([]byte, n)
	if got, _ := m.Read(addr, p); got != n {
		panic("fakeMemory.at: not mapped")
	}
	return p
}

func (m *fakeMemory) find(addr uint64) *piece {
	for i := range m.pieces {
		p := &m.pieces[i]
		if addr >= p.addr && addr < p.addr+uint64(len(p.data)) {
			return p
		}
	}
	return nil
}

func (m *fakeMemory) Read(addr uint64, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		p := m.find(addr + uint64(n))
		if p == nil {
			return n, errFault
		}
		n += copy(b[n:], p.data[addr+uint64(n)-p.addr:])
	}
	return n, nil
}

func (m *fakeMemory) Write(addr uint64, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		p := m.find(addr + uint64(n))
		if p == nil || p.readOnly {
			return n, errFault
		}
		n += copy(p.data[addr+uint64(n)-p.addr:], b[n:])
	}
	return n, nil
}

// words makes a byte slice of 64-bit words.
func words(w ...uint64) []byte {
	var b []byte
	for _, v := range w {
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	return b
}

func cstr(s string) []byte { return append(slices.Clone([]byte(s)), 0) }
