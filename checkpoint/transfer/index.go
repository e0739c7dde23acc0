package transfer

import (
	"math/bits"
	"sort"

	"homing/internal/linux"
)

// pageIndex numbers the pages of a list of ranges.
type pageIndex struct {
	ranges []linux.Range
	first  []uint64 // number of each range's first page
	total  uint64
}

func newPageIndex(rs []linux.Range) *pageIndex {
	x := &pageIndex{ranges: rs, first: make([]uint64, len(rs))}
	for i, r := range rs {
		x.first[i] = x.total
		x.total += r.Len() / pageSize
	}
	return x
}

// find returns the number of the page at an address.
func (x *pageIndex) find(addr uint64) (uint64, bool) {
	i := sort.Search(len(x.ranges), func(i int) bool { return x.ranges[i].End > addr })
	if i == len(x.ranges) || addr < x.ranges[i].Start {
		return 0, false
	}
	return x.first[i] + (addr-x.ranges[i].Start)/pageSize, true
}

// each calls f for each piece of r that is in the list, with its first number.
func (x *pageIndex) each(r linux.Range, f func(piece linux.Range, first uint64)) {
	i := sort.Search(len(x.ranges), func(i int) bool { return x.ranges[i].End > r.Start })
	for ; i < len(x.ranges) && x.ranges[i].Start < r.End; i++ {
		p := linux.Range{Start: max(r.Start, x.ranges[i].Start), End: min(r.End, x.ranges[i].End)}
		f(p, x.first[i]+(p.Start-x.ranges[i].Start)/pageSize)
	}
}

// span returns the addresses of up to n pages from page i, as far as they are
// adjacent.
func (x *pageIndex) span(i, n uint64) linux.Range {
	k := sort.Search(len(x.first), func(k int) bool { return x.first[k] > i }) - 1
	at := x.ranges[k].Start + (i-x.first[k])*pageSize
	return linux.Range{Start: at, End: min(x.ranges[k].End, at+n*pageSize)}
}

// bitset is a set of page numbers.
type bitset []uint64

func newBitset(n uint64) bitset { return make(bitset, (n+63)/64) }

func (b bitset) has(i uint64) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitset) set(i uint64)      { b[i/64] |= 1 << (i % 64) }

// nextClear returns the first number from i, below n, that is not in the set.
func (b bitset) nextClear(i, n uint64) (uint64, bool) {
	for i < n {
		if w := ^b[i/64] >> (i % 64); w != 0 {
			i += uint64(bits.TrailingZeros64(w))
			return i, i < n
		}
		i = (i/64 + 1) * 64
	}
	return 0, false
}
