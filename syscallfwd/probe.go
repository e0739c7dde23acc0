package syscallfwd

// usable returns how many bytes of guest memory at addr, of the n that the
// kernel is to write, are mapped. Asked before the call, it keeps the home
// kernel from consuming data or making descriptors that then have nowhere to
// go: for memory that is not there the call gets a pointer that faults.
//
// Only the first and the last page are asked for, and each page once: pages
// seen mapped are remembered. That a page is read-only, or was unmapped since,
// is noticed by Scatter.
func (e *Encoder) usable(addr, n uint64) uint64 {
	if n == 0 || !userRange(addr, n) {
		return 0
	}
	if !e.mapped(addr) {
		return 0
	}
	last := addr + n - 1
	if addr/pageSize == last/pageSize || e.mapped(last) {
		return n
	}
	got := pageSize - addr%pageSize
	for e.mapped(addr + got) {
		got += pageSize
	}
	return min(got, n)
}

func (e *Encoder) mapped(addr uint64) bool {
	page := addr / pageSize
	slot := &e.good[page%uint64(len(e.good))]
	if *slot == page {
		return true
	}
	if e.read(addr, e.tmp[len(e.tmp)-1:]) != 1 {
		return false
	}
	*slot = page
	return true
}

// ForgetMapped makes the encoder forget which pages it has seen, after the
// guest's memory was replaced.
func (e *Encoder) ForgetMapped() { clear(e.good[:]) }
