package syscallfwd

import "testing"

// flatMemory is guest memory without a system call, so that the figures are
// those of this package.
type flatMemory struct{ data []byte }

const flatBase = 0x10_0000

func (m *flatMemory) Read(addr uint64, p []byte) (int, error) {
	return copy(p, m.data[addr-flatBase:]), nil
}

func (m *flatMemory) Write(addr uint64, p []byte) (int, error) {
	return copy(m.data[addr-flatBase:], p), nil
}

// wholeTrip is what both ends do for one call, but for executing it.
func wholeTrip(e *Encoder, entry *Entry, args [6]uint64, mem Memory, w *benchBuffers, ret int64) int64 {
	c, err := e.Marshal(entry, 1, args, mem, 1<<20)
	if err != nil {
		panic(err)
	}
	w.call = c.AppendBinary(w.call[:0])
	if err := ParseCall(w.call, &w.home); err != nil {
		panic(err)
	}
	if _, err := w.home.Place(w.image, 1<<30); err != nil {
		panic(err)
	}
	w.outs = w.home.Gather(ret, w.image, w.outs[:0])
	r := Reply{Ret: ret, Outs: w.outs}
	w.reply = r.AppendBinary(w.reply[:0])
	var back Reply
	if err := ParseReply(w.reply, &back); err != nil {
		panic(err)
	}
	return c.Scatter(mem, &back)
}

type benchBuffers struct {
	call, outs, reply, image []byte
	home                     Call
}

var benchCalls = []struct {
	name, call string
	args       [6]uint64
	ret        int64
}{
	{"getppid", "getppid", [6]uint64{}, 4711},
	{"read64", "read", [6]uint64{3, flatBase, 64}, 64},
	{"write4096", "write", [6]uint64{3, flatBase, 4096}, 4096},
	{"openat", "openat", [6]uint64{3, flatBase, 0, 0}, 3},
	{"writev3", "writev", [6]uint64{3, flatBase + 8192, 3}, 96},
	{"poll2", "poll", [6]uint64{flatBase + 4096, 2, 100}, 1},
	{"newfstatat", "newfstatat", [6]uint64{3, flatBase, flatBase + 4096, 0}, 0},
}

func benchMemory() *flatMemory {
	mem := &flatMemory{data: make([]byte, 1<<16)}
	copy(mem.data, "/usr/include/x86_64-linux-gnu/bits/types.h\x00")
	copy(mem.data[8192:], words(flatBase, 32, flatBase+32, 32, flatBase+64, 32))
	return mem
}

// BenchmarkEncode is Marshal + AppendBinary + ParseCall.
func BenchmarkEncode(b *testing.B) {
	for _, bc := range benchCalls {
		b.Run(bc.name, func(b *testing.B) {
			mem, entry := benchMemory(), LookupName(bc.call)
			var e Encoder
			var w benchBuffers
			b.ReportAllocs()
			for b.Loop() {
				c, err := e.Marshal(entry, 1, bc.args, mem, 1<<20)
				if err != nil {
					b.Fatal(err)
				}
				w.call = c.AppendBinary(w.call[:0])
				if err := ParseCall(w.call, &w.home); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWholeTrip adds placing, gathering, the reply and scattering.
func BenchmarkWholeTrip(b *testing.B) {
	for _, bc := range benchCalls {
		b.Run(bc.name, func(b *testing.B) {
			mem, entry := benchMemory(), LookupName(bc.call)
			var e Encoder
			w := benchBuffers{image: make([]byte, 1<<20)}
			b.ReportAllocs()
			for b.Loop() {
				wholeTrip(&e, entry, bc.args, mem, &w, bc.ret)
			}
		})
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, bc := range benchCalls {
		mem, entry := benchMemory(), LookupName(bc.call)
		var e Encoder
		w := benchBuffers{image: make([]byte, 1<<20)}
		if n := testing.AllocsPerRun(100, func() { wholeTrip(&e, entry, bc.args, mem, &w, bc.ret) }); n != 0 {
			t.Errorf("%s: %v allocations a call", bc.name, n)
		}
	}
}
