package syscallfwd

import (
	"encoding/binary"
	"errors"
	"testing"
)

// A call that would make home leave its image is refused.
func TestParseCallRefuses(t *testing.T) {
	good := Call{
		NR: 0, Args: [6]uint64{0, 8}, ArgReloc: 2, Size: 64, Data: words(8, 16), Relocs: []uint32{0},
		Outs: []Out{{Off: 8, Len: 56, Kind: OutResult}},
	}
	var c Call
	if err := ParseCall(good.AppendBinary(nil), &c); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(c *Call){
		"argument outside":    func(c *Call) { c.Args[1] = 65 },
		"image too big":       func(c *Call) { c.Size = MaxImage + 1 },
		"data bigger":         func(c *Call) { c.Size = 15; c.Outs = nil },
		"relocation outside":  func(c *Call) { c.Relocs[0] = 9 },
		"relocation huge":     func(c *Call) { c.Relocs[0] = 1<<32 - 4 },
		"relocated outside":   func(c *Call) { c.Data = words(65, 0) },
		"range outside":       func(c *Call) { c.Outs[0].Len = 57 },
		"range wraps":         func(c *Call) { c.Outs[0].Off = 1<<32 - 1 },
		"length word outside": func(c *Call) { c.Outs[0].Kind = OutWord32; c.Outs[0].Ref = 61 },
		"unknown kind":        func(c *Call) { c.Outs[0].Kind = 9 },
		"unknown bit":         func(c *Call) { c.Outs[0].Kind = 0x10 },
		"gate at a place":     func(c *Call) { c.Outs[0].Kind = OutGate },
		"ranges amplify":      func(c *Call) { c.Outs = append(c.Outs, c.Outs[0]) },
		"unknown argument":    func(c *Call) { c.ArgReloc = 64 },
	} {
		bad := good
		bad.Relocs, bad.Outs = []uint32{0}, []Out{good.Outs[0]}
		spoil(&bad)
		if err := ParseCall(bad.AppendBinary(nil), &c); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := good.AppendBinary(nil)
	for n := range b {
		if ParseCall(b[:n], &c) == nil {
			t.Fatalf("accepted %d bytes of %d", n, len(b))
		}
	}
	for _, at := range []int{85, 86, 87, callHeader + 4 + 13} {
		b[at] = 1
		if ParseCall(b, &c) == nil {
			t.Errorf("accepted a bit at %d", at)
		}
		b[at] = 0
	}
}

func TestParseReplyRefuses(t *testing.T) {
	r := Reply{Seq: 1, Ret: 2, Signal: 3, Flags: 4, Outs: []byte{1, 2, 3}}
	b := r.AppendBinary(nil)
	for n := range b {
		if err := ParseReply(b[:n], &r); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d bytes of %d: %v", n, len(b), err)
		}
	}
	if ParseReply(append(b, 0), &r) == nil {
		t.Error("accepted a longer reply")
	}
}

// What home sends beyond what was asked for is dropped.
func TestScatterIsBounded(t *testing.T) {
	mem := &fakeMemory{}
	buf := mem.put(make([]byte, 16))
	var e Encoder
	c, err := e.Marshal(LookupName("read"), 1, [6]uint64{0, buf, 4}, mem, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	for _, outs := range [][]byte{
		binary.LittleEndian.AppendUint32(nil, 8),
		append(binary.LittleEndian.AppendUint32(nil, 8), "overlong"...),
		append(binary.LittleEndian.AppendUint32(nil, 1<<32-1), "x"...),
		{1},
		nil,
	} {
		c.Scatter(mem, &Reply{Ret: 8, Outs: outs})
	}
	if string(mem.at(buf, 16)) != string(make([]byte, 16)) {
		t.Errorf("written: %q", mem.at(buf, 16))
	}
}

func TestPlaceRefuses(t *testing.T) {
	c := Call{Size: 10}
	if _, err := c.Place(make([]byte, 9), 0); !errors.Is(err, ErrImage) {
		t.Error(err)
	}
}
