package syscallfwd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// BadAddr is an address no program can own: the kernel refuses it with EFAULT
// when it checks the range, before any access.
const BadAddr = 0xffff_8000_0000_0000

// Unmapped stands for a guest address inside user space that is not mapped: it
// passes the kernel's range check and faults on access, as in the guest. The
// page lies below vm.mmap_min_addr.
const Unmapped = 0x1000

// taskSize is the end of user space with four-level page tables.
const taskSize = 0x7fff_ffff_f000

// Call is a system call made self-contained: numbers, and an image that holds
// all memory the kernel will touch.
type Call struct {
	Seq   uint64
	TID   int32
	NR    uint32
	Flags uint32 // for the users of this package; carried as it is
	Args  [6]uint64
	// ArgReloc has bit i set when Args[i] is an offset into the image.
	ArgReloc uint8
	// Relocs are the offsets of words in Data that hold offsets into the image.
	Relocs []uint32
	// Data is the leading part of the image: everything the kernel reads.
	Data []byte
	// Size is that of the whole image; what follows Data is only written to.
	Size uint32
	// Outs are the ranges to send back, in this order.
	Outs []Out

	segs []seg // node side: where the ranges go
}

// OutKind says how much of a range comes back, and when.
type OutKind uint8

// The kinds of ranges.
const (
	OutFixed  OutKind = iota // always Len bytes
	OutResult                // as many bytes as the result says, at most Len
	OutTimes                 // result times Ref bytes, at most Len
	OutWord32                // as many bytes as the 32-bit word at image offset Ref says after the call, at most Len
	// OutGate is not a range: the Len ranges after it come back only when the
	// result is above Ref (messages of recvmmsg).
	OutGate

	outKindMask OutKind = 0x0f

	// OutPositive: only when the result is above 0.
	OutPositive OutKind = 0x20
	// OutInterrupted: only when a signal interrupted the call.
	OutInterrupted OutKind = 0x40
	// OutAlways: on errors too. Without any of these bits: when the result is no error.
	OutAlways OutKind = 0x80
)

// Out is one range of the image to send back.
type Out struct {
	Off, Len uint32
	Ref      uint32
	Kind     OutKind
}

// Reply is the answer to a Call.
type Reply struct {
	Seq   uint64
	Ret   int64  // as in the register: -4095…-1 are errors, restart codes among them
	Flags uint32 // for the users of this package
	// Signal is the number of the last signal that home had accepted for the
	// process when it answered: the answer must not overtake it. 0 means none.
	Signal uint64
	// Outs holds for each Out of the call its length (32 bits) and bytes; it is
	// empty when nothing comes back at all.
	Outs []byte
}

// ErrImage reports an image with too little room for a call.
var ErrImage = errors.New("syscallfwd: image too small")

// Place copies the call's image to image, memory which the shadow sees at
// address base, and returns the registers to execute it with. For buffers of
// O_DIRECT base must be page-aligned; 64 bytes is enough for everything else.
func (c *Call) Place(image []byte, base uint64) ([6]uint64, error) {
	args := c.Args
	if uint64(len(image)) < uint64(c.Size) || len(c.Data) > len(image) {
		return args, fmt.Errorf("%w: %d bytes of %d", ErrImage, len(image), c.Size)
	}
	copy(image, c.Data)
	for _, off := range c.Relocs {
		w := image[off : off+8]
		binary.LittleEndian.PutUint64(w, binary.LittleEndian.Uint64(w)+base)
	}
	for i := range args {
		if c.ArgReloc&(1<<i) != 0 {
			args[i] += base
		}
	}
	return args, nil
}

// interrupted reports whether a result means that a signal ended the call:
// EINTR or one of the kernel's restart codes.
func interrupted(ret int64) bool {
	switch ret {
	case -4, -512, -514, -516: // not −513, which also says that it was not begun
		return true
	}
	return false
}

// due reports whether a range comes back for this result.
func (k OutKind) due(ret int64) bool {
	switch {
	case k&OutAlways != 0:
		return true
	case k&OutInterrupted != 0:
		return interrupted(ret)
	case k&OutPositive != 0:
		return ret > 0
	}
	return ret >= 0
}

// Gather appends to b what Reply.Outs must hold after the call ended with ret
// and left image behind.
func (c *Call) Gather(ret int64, image []byte, b []byte) []byte {
	if ret < 0 && !c.outsOnError(ret) {
		return b
	}
	skip := uint32(0)
	for i := range c.Outs {
		o := &c.Outs[i]
		n := uint32(0)
		switch {
		case skip > 0:
			skip--
		case o.Kind&outKindMask == OutGate:
			if ret <= int64(o.Ref) {
				skip = o.Len
			}
		case o.Kind.due(ret):
			n = o.length(ret, image)
		}
		b = binary.LittleEndian.AppendUint32(b, n)
		b = append(b, image[o.Off:o.Off+n]...)
	}
	return b
}

func (c *Call) outsOnError(ret int64) bool {
	for i := range c.Outs {
		if c.Outs[i].Kind&(OutAlways|OutInterrupted) != 0 && c.Outs[i].Kind.due(ret) {
			return true
		}
	}
	return false
}

func (o *Out) length(ret int64, image []byte) uint32 {
	n := uint64(o.Len)
	switch o.Kind & outKindMask {
	case OutResult:
		n = uint64(max(ret, 0))
	case OutTimes:
		n = min(uint64(max(ret, 0)), uint64(o.Len)) * uint64(o.Ref)
	case OutWord32:
		n = uint64(binary.LittleEndian.Uint32(image[o.Ref:]))
	}
	return uint32(min(n, uint64(o.Len)))
}
