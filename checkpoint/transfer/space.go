package transfer

import (
	"errors"
	"sort"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// space is one address space that pages are missing in: that of the process
// itself, or of a child it forked meanwhile. Its methods are called with the
// Puller locked.
type space struct {
	fd    int // the userfaultfd
	x     *pageIndex
	segs  []seg  // sorted by at
	have  bitset // pages that are here, or were given up by the process
	left  uint64
	gone  bool     // the process is
	again []uint64 // addresses whose faults could not be answered yet
}

// seg says where a piece of the source's addresses lies in the process: programs
// move their memory (mremap).
type seg struct {
	at    linux.Range
	delta uint64 // at the source: address - delta
}

func newSpace(fd int, x *pageIndex) *space {
	return &space{
		fd: fd, x: x, have: newBitset(x.total), left: x.total,
		segs: []seg{{at: linux.Range{End: endOfUser}}},
	}
}

// fork returns the space of a child.
func (s *space) fork(fd int) *space {
	return &space{
		fd: fd, x: s.x, left: s.left,
		segs: append([]seg(nil), s.segs...), have: append(bitset(nil), s.have...),
	}
}

// source returns the address at the source of an address here.
func (s *space) source(addr uint64) (uint64, bool) {
	i := sort.Search(len(s.segs), func(i int) bool { return s.segs[i].at.End > addr })
	if i == len(s.segs) || addr < s.segs[i].at.Start {
		return 0, false
	}
	return addr - s.segs[i].delta, true
}

// missing returns the number of the missing page at an address.
func (s *space) missing(addr uint64) (uint64, bool) {
	src, ok := s.source(addr)
	if !ok {
		return 0, false
	}
	i, ok := s.x.find(src)
	return i, ok && !s.have.has(i)
}

func (s *space) got(i uint64) {
	if !s.gone && !s.have.has(i) {
		s.have.set(i)
		s.left--
	}
}

// forget: the process has given up what is in r; it will find zeros there.
func (s *space) forget(r linux.Range) {
	for _, g := range s.segs {
		p := linux.Range{Start: max(r.Start, g.at.Start), End: min(r.End, g.at.End)}
		if p.Start >= p.End {
			continue
		}
		s.x.each(linux.Range{Start: p.Start - g.delta, End: p.End - g.delta}, func(piece linux.Range, first uint64) {
			for i := range piece.Len() / pageSize {
				s.got(first + i)
			}
		})
	}
}

// cut takes the segments of r out and returns them.
func (s *space) cut(r linux.Range) []seg {
	var in, out []seg
	for _, g := range s.segs {
		p := linux.Range{Start: max(r.Start, g.at.Start), End: min(r.End, g.at.End)}
		if p.Start >= p.End {
			out = append(out, g)
			continue
		}
		in = append(in, seg{p, g.delta})
		if g.at.Start < p.Start {
			out = append(out, seg{linux.Range{Start: g.at.Start, End: p.Start}, g.delta})
		}
		if p.End < g.at.End {
			out = append(out, seg{linux.Range{Start: p.End, End: g.at.End}, g.delta})
		}
	}
	s.segs = out
	return in
}

// move: the process has moved what was at from.
func (s *space) move(from, to, size uint64) {
	moved := s.cut(linux.Range{Start: from, End: from + size})
	target := linux.Range{Start: to, End: to + size}
	s.forget(target) // it replaces what was there
	s.cut(target)
	for _, g := range moved {
		g.at.Start += to - from
		g.at.End += to - from
		g.delta += to - from
		s.segs = append(s.segs, g)
	}
	sort.Slice(s.segs, func(i, j int) bool { return s.segs[i].at.Start < s.segs[j].at.Start })
}

// errAgain: the process is changing its mappings; its event must be read first.
var errAgain = errors.New("an event is to be read")

// fill puts the pages of a run at the source into place, those that are still
// missing. data is nil for zeros, which are there without being filled, unless
// a thread waits for them: asked.
func (s *space) fill(r linux.Range, data []byte, asked bitset) error {
	for _, g := range s.segs {
		if s.gone {
			return nil
		}
		p := linux.Range{Start: max(r.Start, g.at.Start-g.delta), End: min(r.End, g.at.End-g.delta)}
		if p.Start >= p.End {
			continue
		}
		var err error
		s.x.each(p, func(piece linux.Range, first uint64) {
			n := piece.Len() / pageSize
			for i := uint64(0); i < n && err == nil; {
				if s.have.has(first + i) {
					i++
					continue
				}
				j := i + 1
				for j < n && !s.have.has(first+j) {
					j++
				}
				to := linux.Range{Start: piece.Start + i*pageSize + g.delta, End: piece.Start + j*pageSize + g.delta}
				if data == nil {
					err = s.zero(to, first+i, asked)
				} else {
					off := piece.Start + i*pageSize - r.Start
					err = s.put(to, first+i, data[off:off+to.Len()])
				}
				i = j
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *space) put(to linux.Range, first uint64, data []byte) error {
	for limit := len(data); len(data) > 0 && !s.gone; {
		n, err := linux.UserfaultCopy(s.fd, to.Start, data[:min(limit, len(data))])
		for range n / pageSize {
			s.got(first)
			first++
		}
		to.Start += uint64(n)
		data = data[n:]
		switch {
		case err == nil:
			limit = len(data)
		case errors.Is(err, unix.EAGAIN):
			return errAgain
		case errors.Is(err, unix.ESRCH):
			s.end()
		case errors.Is(err, unix.ENOENT) && min(limit, len(data)) > pageSize:
			// Not all of it lies in one mapping: the program has cut it.
			limit = min(limit, len(data)) / 2 &^ (pageSize - 1)
		case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT): // there already, or unmapped
			one := linux.Range{Start: to.Start, End: to.Start + pageSize}
			_ = linux.UserfaultWake(s.fd, one) // nobody waits where nothing is registered
			s.got(first)
			first++
			to.Start += pageSize
			data = data[pageSize:]
			limit = len(data)
		default:
			return err
		}
	}
	return nil
}

// zero notes pages of zeros. Where none is, a thread finds zeros once nothing is
// registered any more, or by asking.
func (s *space) zero(to linux.Range, first uint64, asked bitset) error {
	for at := to.Start; at < to.End; at += pageSize {
		if asked.has(first) {
			if err := s.zeropage(at); err != nil {
				return err
			}
		}
		s.got(first)
		first++
	}
	return nil
}

// zeropage lets a thread go on that waits for a page which is not missing.
func (s *space) zeropage(at uint64) error {
	r := linux.Range{Start: at, End: at + pageSize}
	err := linux.UserfaultZeropage(s.fd, r)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return errAgain
	case errors.Is(err, unix.ESRCH):
		s.end()
	case err != nil:
		_ = linux.UserfaultWake(s.fd, r) // a page is there, or nothing is registered
	}
	return nil
}

// end: the process has ended or executes another program.
func (s *space) end() { s.gone, s.left, s.again = true, 0, nil }
