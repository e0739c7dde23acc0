package syscallfwd

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// rets are results that take each path of Gather and Scatter.
var rets = []int64{0, 1, 3, 4096, 1 << 40, -1, -4, -14, -512, -516, -1 << 63, 1<<63 - 1}

func FuzzParseCall(f *testing.F) {
	mem := &fakeMemory{}
	buf := mem.put(bytes.Repeat([]byte{7}, 8192))
	var e Encoder
	for _, name := range []string{"getppid", "read", "write", "poll", "select", "recvmsg", "recvmmsg", "readv", "msgrcv", "accept"} {
		c, err := e.Marshal(LookupName(name), 7, [6]uint64{1, buf, 2, buf, buf, buf}, mem, 1<<16)
		if err == nil {
			f.Add(c.AppendBinary(nil))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Call
		if ParseCall(b, &c) != nil {
			return
		}
		if got := c.AppendBinary(nil); !bytes.Equal(got, b) || len(got) != c.WireSize() {
			t.Fatalf("call changes on the wire:\n%x\n%x", b, got)
		}
		if c.Size > 1<<20 {
			return
		}
		image := make([]byte, c.Size)
		if _, err := c.Place(image, 0x7000_0000); err != nil {
			t.Fatal(err)
		}
		for _, ret := range rets {
			if n := len(c.Gather(ret, image, nil)); n > int(c.Size)+4*len(c.Outs) {
				t.Fatalf("%d bytes come back of an image of %d", n, c.Size)
			}
		}
		if _, err := c.Place(image[:len(image)/2], 0); c.Size > 1 && err == nil {
			t.Fatal("placed in half its size")
		}
	})
}

func FuzzParseReply(f *testing.F) {
	r := Reply{Seq: 9, Ret: 3, Outs: []byte{3, 0, 0, 0, 1, 2, 3}}
	f.Add(r.AppendBinary(nil), uint16(0))
	f.Add(r.AppendBinary(nil), uint16(7))
	f.Fuzz(func(t *testing.T, b []byte, nr uint16) {
		var r Reply
		if ParseReply(b, &r) != nil {
			return
		}
		if !bytes.Equal(r.AppendBinary(nil), b) {
			t.Fatalf("reply changes on the wire: %x", b)
		}
		entry := Lookup(uint32(nr) % maxNr)
		if entry == nil {
			return
		}
		mem := fuzzMemory(b)
		var e Encoder
		c, err := e.Marshal(entry, 1, [6]uint64{2, fuzzBase, 3, fuzzBase + 8, fuzzBase + 16, fuzzBase}, mem, 1<<16)
		if err == nil {
			c.Scatter(mem, &r)
		}
	})
}

const fuzzBase = 0x20_0000

// fuzzMemory is memory full of b, between two holes.
func fuzzMemory(b []byte) *fakeMemory {
	data := make([]byte, 3*pageSize)
	if len(b) > 0 {
		for n := 0; n < len(data); {
			n += copy(data[n:], b)
		}
	}
	return &fakeMemory{pieces: []piece{{addr: fuzzBase, data: data}}}
}

func FuzzMarshal(f *testing.F) {
	for i := range Table {
		f.Add(uint16(Table[i].Nr), uint64(2), uint64(fuzzBase), uint64(16), uint64(fuzzBase+64), uint64(fuzzBase), uint64(16),
			words(fuzzBase+100, 20, fuzzBase+200, 30))
	}
	f.Add(uint16(47), uint64(1), uint64(fuzzBase), uint64(0), uint64(0), uint64(0), uint64(0),
		words(fuzzBase+64, 16, fuzzBase+64, 2, fuzzBase+128, 32, 0))
	f.Fuzz(func(t *testing.T, nr uint16, a, b, c, d, g, h uint64, data []byte) {
		entry := Lookup(uint32(nr) % maxNr)
		if entry == nil {
			return
		}
		checkMarshal(t, entry, [6]uint64{a, b, c, d, g, h}, fuzzMemory(data))
	})
}

// checkMarshal holds for any call with any arguments and memory.
func checkMarshal(t *testing.T, entry *Entry, args [6]uint64, mem Memory) {
	const limit = 1 << 16
	var e Encoder
	call, _, _, err := e.MarshalPart(entry, 1, args, mem, limit, args[5]%5000)
	if err == nil {
		checkCall(t, call, limit)
	}
	if call, err = e.Marshal(entry, 1, args, mem, limit); err != nil {
		return
	}
	var home Call
	checkCall(t, call, limit)
	if err := ParseCall(call.AppendBinary(nil), &home); err != nil {
		t.Fatalf("%s%x: %v", entry.Name, args, err)
	}
	image := make([]byte, home.Size)
	placed, err := home.Place(image, fuzzImage)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entry.Args {
		if k := entry.Args[i].Kind; k > KindAddr && k < KindCustom {
			checkPointer(t, entry, placed[i], home.Size)
		}
		if k := entry.Args[i].Kind; (k == KindIovIn || k == KindIovOut) && home.ArgReloc&(1<<i) != 0 {
			n := uint64(uint32(home.Args[entry.Args[i].Len]))
			for v := image[home.Args[i]:][:16*n]; len(v) > 0; v = v[16:] {
				checkPointer(t, entry, le64(v), home.Size)
			}
		}
	}
	for _, ret := range rets {
		call.Scatter(mem, &Reply{Ret: ret, Outs: home.Gather(ret, image, nil)})
	}
}

const fuzzImage = 0x5000_0000

// checkPointer proves that no guest address reaches the home kernel.
func checkPointer(t *testing.T, entry *Entry, p uint64, size uint32) {
	t.Helper()
	if p != 0 && p != Unmapped && p != BadAddr && (p < fuzzImage || p > fuzzImage+uint64(size)) {
		t.Fatalf("%s: pointer %#x is not into the image", entry.Name, p)
	}
}

func checkCall(t *testing.T, c *Call, limit uint32) {
	t.Helper()
	if c.Size > limit {
		t.Fatalf("image of %d bytes, limit %d", c.Size, limit)
	}
	var back Call
	b := c.AppendBinary(nil)
	if err := ParseCall(b, &back); err != nil {
		t.Fatalf("call %d: %v", c.NR, err)
	}
	if binary.LittleEndian.Uint32(b[20:]) != c.Size {
		t.Fatal("size is not where it should be")
	}
	last := uint32(0)
	for _, s := range c.segs {
		if s.out < last || int(s.out) >= len(c.Outs) {
			t.Fatalf("call %d: ranges out of order", c.NR)
		}
		last = s.out
	}
}
