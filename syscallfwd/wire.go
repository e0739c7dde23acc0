package syscallfwd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The wire form is little-endian and fixed:
//
//	call:  seq 8, tid 4, nr 4, flags 4, size 4, args 6×8,
//	       relocs 4, outs 4, data 4, argreloc 1, zero 3,
//	       then relocs × 4, outs × (off 4, len 4, ref 4, kind 1, zero 3), data
//	reply: seq 8, ret 8, signal 8, flags 4, outs 4, then outs bytes
const (
	callHeader  = 88
	outSize     = 16
	replyHeader = 32
)

// MaxImage bounds what ParseCall accepts; nothing bigger is worth one call.
const MaxImage = 64 << 20

// ErrMalformed reports bytes that are no call or reply.
var ErrMalformed = errors.New("syscallfwd: malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// AppendBinary appends the wire form of c to b.
func (c *Call) AppendBinary(b []byte) []byte {
	le := binary.LittleEndian
	var h [callHeader]byte
	le.PutUint64(h[0:], c.Seq)
	le.PutUint32(h[8:], uint32(c.TID))
	le.PutUint32(h[12:], c.NR)
	le.PutUint32(h[16:], c.Flags)
	le.PutUint32(h[20:], c.Size)
	for i, a := range c.Args {
		le.PutUint64(h[24+8*i:], a)
	}
	le.PutUint32(h[72:], uint32(len(c.Relocs)))
	le.PutUint32(h[76:], uint32(len(c.Outs)))
	le.PutUint32(h[80:], uint32(len(c.Data)))
	h[84] = c.ArgReloc
	b = append(b, h[:]...)
	for _, r := range c.Relocs {
		b = le.AppendUint32(b, r)
	}
	for i := range c.Outs {
		o := &c.Outs[i]
		b = le.AppendUint32(b, o.Off)
		b = le.AppendUint32(b, o.Len)
		b = le.AppendUint32(b, o.Ref)
		b = append(b, byte(o.Kind), 0, 0, 0)
	}
	return append(b, c.Data...)
}

// WireSize is the length of what AppendBinary appends.
func (c *Call) WireSize() int {
	return callHeader + 4*len(c.Relocs) + outSize*len(c.Outs) + len(c.Data)
}

// ParseCall reads the wire form of a call into c, whose slices it reuses;
// Data becomes a part of b. What it accepts, Place and Gather can work on
// without leaving the image.
func ParseCall(b []byte, c *Call) error {
	le := binary.LittleEndian
	if len(b) < callHeader {
		return malformed("call of %d bytes", len(b))
	}
	c.Seq = le.Uint64(b[0:])
	c.TID = int32(le.Uint32(b[8:]))
	c.NR = le.Uint32(b[12:])
	c.Flags = le.Uint32(b[16:])
	c.Size = le.Uint32(b[20:])
	for i := range c.Args {
		c.Args[i] = le.Uint64(b[24+8*i:])
	}
	relocs, outs, data := uint64(le.Uint32(b[72:])), uint64(le.Uint32(b[76:])), uint64(le.Uint32(b[80:]))
	c.ArgReloc = b[84]
	c.Relocs, c.Outs, c.segs, c.Data = c.Relocs[:0], c.Outs[:0], c.segs[:0], nil
	switch {
	case c.ArgReloc >= 1<<6 || b[85]|b[86]|b[87] != 0:
		return malformed("call with unknown bits")
	case c.Size > MaxImage:
		return malformed("image of %d bytes", c.Size)
	case data > uint64(c.Size):
		return malformed("data of %d bytes in an image of %d", data, c.Size)
	case callHeader+4*relocs+outSize*outs+data != uint64(len(b)):
		return malformed("call of %d bytes with %d relocations, %d ranges, %d bytes of data", len(b), relocs, outs, data)
	}
	c.Data = b[uint64(len(b))-data:]
	p := b[callHeader:]
	for range relocs {
		c.Relocs = append(c.Relocs, le.Uint32(p))
		p = p[4:]
	}
	for range outs {
		if p[13]|p[14]|p[15] != 0 {
			return malformed("range with unknown bits")
		}
		c.Outs = append(c.Outs, Out{Off: le.Uint32(p), Len: le.Uint32(p[4:]), Ref: le.Uint32(p[8:]), Kind: OutKind(p[12])})
		p = p[outSize:]
	}
	return c.check()
}

// check proves that nothing in c points outside its image.
func (c *Call) check() error {
	for i, a := range c.Args {
		if c.ArgReloc&(1<<i) != 0 && a > uint64(c.Size) {
			return malformed("argument %d at %#x in an image of %d", i, a, c.Size)
		}
	}
	for _, r := range c.Relocs {
		if uint64(r)+8 > uint64(len(c.Data)) {
			return malformed("relocation at %d, data of %d", r, len(c.Data))
		}
		if v := binary.LittleEndian.Uint64(c.Data[r:]); v > uint64(c.Size) {
			return malformed("relocated word %#x in an image of %d", v, c.Size)
		}
	}
	total := uint64(0)
	for i := range c.Outs {
		o := &c.Outs[i]
		kind := o.Kind & outKindMask
		switch {
		case kind > OutGate || o.Kind&0x10 != 0:
			return malformed("range %d of kind %#x", i, o.Kind)
		case kind == OutGate:
			if o.Off != 0 {
				return malformed("gate at %d", o.Off)
			}
			continue
		case uint64(o.Off)+uint64(o.Len) > uint64(c.Size):
			return malformed("range %d: %d bytes at %d in an image of %d", i, o.Len, o.Off, c.Size)
		case kind == OutWord32 && uint64(o.Ref)+4 > uint64(c.Size):
			return malformed("range %d: length word at %d in an image of %d", i, o.Ref, c.Size)
		}
		total += uint64(o.Len)
	}
	if total > uint64(c.Size) {
		return malformed("ranges of %d bytes in an image of %d", total, c.Size)
	}
	return nil
}

// AppendBinary appends the wire form of r to b.
func (r *Reply) AppendBinary(b []byte) []byte {
	le := binary.LittleEndian
	var h [replyHeader]byte
	le.PutUint64(h[0:], r.Seq)
	le.PutUint64(h[8:], uint64(r.Ret))
	le.PutUint64(h[16:], r.Signal)
	le.PutUint32(h[24:], r.Flags)
	le.PutUint32(h[28:], uint32(len(r.Outs)))
	b = append(b, h[:]...)
	return append(b, r.Outs...)
}

// ParseReply reads the wire form of a reply into r; Outs becomes a part of b.
func ParseReply(b []byte, r *Reply) error {
	le := binary.LittleEndian
	if len(b) < replyHeader {
		return malformed("reply of %d bytes", len(b))
	}
	r.Seq = le.Uint64(b[0:])
	r.Ret = int64(le.Uint64(b[8:]))
	r.Signal = le.Uint64(b[16:])
	r.Flags = le.Uint32(b[24:])
	r.Outs = b[replyHeader:]
	if n := le.Uint32(b[28:]); uint64(n) != uint64(len(r.Outs)) {
		return malformed("reply with %d bytes of %d", len(r.Outs), n)
	}
	return nil
}
