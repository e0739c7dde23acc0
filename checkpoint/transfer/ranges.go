package transfer

import (
	"slices"
	"sort"

	"homing/checkpoint"
	"homing/internal/linux"
)

const (
	pageSize = checkpoint.PageSize
	hugeSize = 2 << 20
)

// Lists of ranges below are sorted, without overlaps, and adjacent ranges are
// merged, as appendRange leaves them.

func appendRange(rs []linux.Range, r linux.Range) []linux.Range {
	if r.Start >= r.End {
		return rs
	}
	if n := len(rs); n > 0 && rs[n-1].End >= r.Start {
		rs[n-1].End = max(rs[n-1].End, r.End)
		return rs
	}
	return append(rs, r)
}

// sorted makes a list of ranges in any order a proper one, in place.
func sorted(rs []linux.Range) []linux.Range {
	slices.SortFunc(rs, func(a, b linux.Range) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	out := rs[:0]
	for _, r := range rs {
		out = appendRange(out, r)
	}
	return out
}

func union(a, b []linux.Range) []linux.Range {
	if len(a) == 0 || len(b) == 0 {
		return append(a, b...)
	}
	var out []linux.Range
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].Start <= b[0].Start {
			out, a = appendRange(out, a[0]), a[1:]
		} else {
			out, b = appendRange(out, b[0]), b[1:]
		}
	}
	return out
}

func intersect(a, b []linux.Range) []linux.Range {
	var out []linux.Range
	for len(a) > 0 && len(b) > 0 {
		out = appendRange(out, linux.Range{Start: max(a[0].Start, b[0].Start), End: min(a[0].End, b[0].End)})
		if a[0].End <= b[0].End {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// subtract returns what of a is not in b.
func subtract(a, b []linux.Range) []linux.Range {
	var out []linux.Range
	for _, r := range a {
		for len(b) > 0 && b[0].End <= r.Start {
			b = b[1:]
		}
		at := r.Start
		for _, s := range b {
			if s.Start >= r.End {
				break
			}
			out = appendRange(out, linux.Range{Start: at, End: min(s.Start, r.End)})
			at = max(at, s.End)
		}
		out = appendRange(out, linux.Range{Start: at, End: r.End})
	}
	return out
}

func length(rs []linux.Range) uint64 {
	n := uint64(0)
	for _, r := range rs {
		n += r.Len()
	}
	return n
}

// overlapping returns the ranges of a list that share an address with r.
func overlapping(rs []linux.Range, r linux.Range) []linux.Range {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].End > r.Start })
	j := i
	for j < len(rs) && rs[j].Start < r.End {
		j++
	}
	return rs[i:j]
}

// contains tells whether all of r is in the list.
func contains(rs []linux.Range, r linux.Range) bool {
	o := overlapping(rs, r)
	return len(o) == 1 && o[0].Start <= r.Start && r.End <= o[0].End
}

// anonymous tells whether a page of the mapping that was never written is zero
// and the process's alone.
func anonymous(v *checkpoint.VMA) bool { return v.File < 0 && !v.Shared && v.Object == 0 }

// canWait tells whether pages of a mapping may come after the process runs. Where
// children find zeros (MADV_WIPEONFORK) those that are missing would fill them.
func canWait(v *checkpoint.VMA) bool { return anonymous(v) && v.Flags&linux.VMWipeOnFork == 0 }

func mapped(im *checkpoint.Image, ok func(*checkpoint.VMA) bool) []linux.Range {
	var out []linux.Range
	for i := range im.VMAs {
		if v := &im.VMAs[i]; ok == nil || ok(v) {
			out = appendRange(out, linux.Range{Start: v.Start, End: v.End})
		}
	}
	return out
}
