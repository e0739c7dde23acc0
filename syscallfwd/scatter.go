package syscallfwd

import (
	"bytes"
	"encoding/binary"
)

const efault = 14

// Scatter writes what came back into the guest's memory, as the kernel would
// have, and returns the call's final result. It must be called on the Call
// that Marshal returned, before the next Marshal.
func (c *Call) Scatter(mem Memory, r *Reply) int64 {
	ret, outs := r.Ret, r.Outs
	s := 0
	for i := range c.Outs {
		var p []byte
		p, outs = nextOut(outs, c.Outs[i].Len)
		for ; s < len(c.segs) && c.segs[s].out == uint32(i); s++ {
			g := &c.segs[s]
			q := p[:min(len(p), int(g.len))]
			p = p[len(q):]
			if len(q) == 0 {
				continue
			}
			n := c.write(mem, g, &c.Outs[i], q)
			if n == len(q) || g.mode&segSoft != 0 {
				continue
			}
			if ret < 0 && g.mode&segMust == 0 {
				continue
			}
			if g.mode&segData == 0 {
				ret = -efault
				continue
			}
			return c.shortened(s, n)
		}
	}
	return ret
}

// nextOut takes one range off a reply; a malformed one reads as empty.
func nextOut(b []byte, limit uint32) (p, rest []byte) {
	if len(b) < 4 {
		return nil, nil
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	b = b[4:]
	if n > uint64(len(b)) || n > uint64(limit) {
		return nil, nil
	}
	return b[:n], b[n:]
}

// shortened is the result of a call that moved data until segment s took only
// n bytes: what was moved before, or EFAULT.
func (c *Call) shortened(s, n int) int64 {
	total := int64(n)
	for i := range c.segs[:s] {
		if c.segs[i].mode&segData != 0 && c.segs[i].out == c.segs[s].out {
			total += int64(c.segs[i].len)
		}
	}
	if total == 0 {
		return -efault
	}
	return total
}

func (c *Call) write(mem Memory, g *seg, o *Out, p []byte) int {
	switch {
	case g.mode&segRevents != 0:
		return writeRevents(mem, g.addr, p, c.before(o))
	case g.mode&segDiff != 0:
		return writeChanged(mem, g.addr, p, c.before(o))
	}
	return writeAll(mem, g.addr, p)
}

// before is what the range held when the call was marshalled.
func (c *Call) before(o *Out) []byte {
	if uint64(o.Off)+uint64(o.Len) > uint64(len(c.Data)) {
		return nil
	}
	return c.Data[o.Off:][:o.Len]
}

func writeAll(mem Memory, addr uint64, p []byte) int {
	if !userRange(addr, uint64(len(p))) {
		return 0
	}
	n, _ := mem.Write(addr, p)
	return max(0, min(n, len(p)))
}

// writeChanged writes the span between the first and the last byte that differ
// from before, so that what the kernel left alone is not touched.
func writeChanged(mem Memory, addr uint64, p, before []byte) int {
	if len(before) < len(p) {
		return writeAll(mem, addr, p)
	}
	if bytes.Equal(p, before[:len(p)]) {
		return len(p)
	}
	lo, hi := 0, len(p)
	for p[lo] == before[lo] {
		lo++
	}
	for p[hi-1] == before[hi-1] {
		hi--
	}
	if n := writeAll(mem, addr+uint64(lo), p[lo:hi]); n < hi-lo {
		return lo + n
	}
	return len(p)
}

// writeRevents writes the changed revents of an array of struct pollfd and
// nothing else: another thread may be changing the rest.
func writeRevents(mem Memory, addr uint64, p, before []byte) int {
	const entry, revents = 8, 6
	for i := 0; i+entry <= len(p); i += entry {
		r := p[i+revents : i+entry]
		if i+entry <= len(before) && bytes.Equal(r, before[i+revents:i+entry]) {
			continue
		}
		if writeAll(mem, addr+uint64(i+revents), r) < len(r) {
			return i
		}
	}
	return len(p)
}

// DataOut returns where in the guest's memory the one range that a call hands
// back goes, if it is a plain data buffer as of read(2): such data may be
// written there directly, in pieces.
func (c *Call) DataOut() (addr uint64, ok bool) {
	if len(c.Outs) != 1 || len(c.segs) != 1 || c.Outs[0].Kind != OutResult || c.segs[0].mode != segData {
		return 0, false
	}
	return c.segs[0].addr, true
}
