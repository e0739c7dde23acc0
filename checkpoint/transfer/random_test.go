package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
)

// churn does random things to the memory of processes, the same to each.
type churn struct {
	rnd  *rand.Rand
	v    []*victim
	unit [churnUnits]int // protection, -1: not mapped
	log  []string
}

const (
	churnUnits = 256
	unitSize   = 16 * pageSize
	churnEnd   = base + churnUnits*unitSize
)

func newChurn(seed uint64, v ...*victim) *churn {
	c := &churn{rnd: rand.New(rand.NewPCG(seed, 1)), v: v}
	for i := range c.unit {
		c.unit[i] = -1
	}
	return c
}

func (c *churn) all(cmd string, a, b, d uint64) {
	c.log = append(c.log, fmt.Sprintf("%s %#x %#x %#x", cmd, a, b, d))
	for _, v := range c.v {
		v.must(cmd, a, b, d)
	}
}

func (c *churn) is(i, n, prot int) bool {
	for ; n > 0; n-- {
		if c.unit[i+n-1] != prot {
			return false
		}
	}
	return true
}

func (c *churn) set(i, n, prot int) {
	for ; n > 0; n-- {
		c.unit[i+n-1] = prot
	}
}

func (c *churn) step() {
	n := 1 + c.rnd.IntN(16)
	i := c.rnd.IntN(churnUnits - n)
	at, size := base+uint64(i)*unitSize, uint64(n)*unitSize
	seed := c.rnd.Uint64N(1 << 32)
	some := at + c.rnd.Uint64N(size/pageSize)*pageSize
	switch c.rnd.IntN(10) {
	case 0, 1:
		c.all("map", at, size, rw)
		c.set(i, n, rw)
	case 2:
		c.all("unmap", at, size, 0)
		c.set(i, n, -1)
	case 3:
		if c.is(i, n, rw) {
			c.all("advise", at, size, unix.MADV_DONTNEED)
		}
	case 4:
		j := c.rnd.IntN(churnUnits - n)
		if c.is(i, n, rw) && (j+n <= i || j >= i+n) {
			to := base + uint64(j)*unitSize
			c.set(j, n, rw)
			if c.v[0].ask("move", at, size, to) != "1" { // not all of it is one mapping; some may have moved
				c.all("map", at, size, rw)
				c.all("map", to, size, rw)
				break
			}
			c.log = append(c.log, fmt.Sprintf("move %#x %#x %#x", at, size, to))
			for _, v := range c.v[1:] {
				v.must("move", at, size, to)
			}
			c.set(i, n, -1)
		}
	case 5:
		if c.is(i, n, rw) {
			c.all("protect", at, size, unix.PROT_READ)
			c.set(i, n, unix.PROT_READ)
		} else if c.is(i, n, unix.PROT_READ) {
			c.all("protect", at, size, rw)
			c.set(i, n, rw)
		}
	case 6:
		if c.is(i, n, rw) {
			c.all("zero", some, pageSize, 0)
		}
	default:
		if c.is(i, n, rw) {
			if c.rnd.IntN(2) == 0 {
				some, size = at, pageSize
			}
			c.all("fill", at, size, seed)
		}
	}
}

// image describes the mappings of a process that are under test.
func (v *victim) image() *checkpoint.Image {
	v.t.Helper()
	maps, err := linux.Mappings(v.pid)
	if err != nil {
		v.t.Fatal(err)
	}
	im := &checkpoint.Image{}
	for _, m := range maps {
		if m.Start >= base && m.Start < churnEnd {
			im.VMAs = append(im.VMAs, checkpoint.VMA{Start: m.Start, End: m.End, Prot: m.Prot, File: -1})
		}
	}
	return im
}

// Whatever a process does to its memory between rounds, it arrives as it is.
func TestPrecopyRandom(t *testing.T) {
	if err := Probe().Track; err != nil {
		t.Skip(err)
	}
	for seed := range uint64(6) {
		a, b := start(t), start(t)
		c := newChurn(seed, a)
		for range 150 {
			c.step()
		}
		u, err := a.userfault(linux.UserfaultUserModeOnly)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := NewTracker(a.pid, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		here, there := tcpPair(t)
		got := receive(there, Body{Layout: layouts(b), Drop: b.drop})
		s := NewSource(here, a.pid, Options{})
		defer s.Close()
		layout := func() ([]byte, *checkpoint.Image, error) {
			im := a.image()
			for range c.rnd.IntN(3) { // between its description and the look at its pages
				c.step()
			}
			b, err := json.Marshal(im)
			return b, im, err
		}
		for range 5 {
			if _, err := s.Precopy(context.Background(), tr, layout, Aim{Rounds: 1, Freeze: 1}); err != nil {
				t.Fatal(err)
			}
			for range c.rnd.IntN(30) {
				c.step()
			}
		}
		a.stop()
		im := a.image()
		im.Pages = a.pages(im)
		described, err := json.Marshal(im)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Final(context.Background(), Final{Image: im, Layout: described, Tracker: tr}); err != nil {
			t.Fatal(err)
		}
		if d := <-got; d.err != nil {
			t.Fatal(d.err)
		}
		same(t, a, b, mapped(im, nil))
		tr.Disarm()
	}
}

// Whatever a process does to its memory while its pages come, it finds what it
// would have found had they all been there.
func TestPostcopyRandom(t *testing.T) {
	if err := Probe().Fault; err != nil {
		t.Skip(err)
	}
	for seed := range uint64(6) {
		a, b, twin := start(t), start(t), start(t)
		c := newChurn(seed, a, twin)
		for range 150 {
			c.step()
		}
		a.stop()
		im := a.image()
		im.Pages = a.pages(im)
		b.mapAll(im)
		here, there := tcpPair(t)
		got := receive(there, Body{PID: b.pid, Image: im, Userfault: func() (Userfault, error) { return b.userfault(0) }})
		s := NewSource(here, a.pid, Options{Rate: 20 << 20})
		defer s.Close()
		if _, err := s.Final(context.Background(), Final{Image: im, Lazy: true}); err != nil {
			t.Fatal(err)
		}
		d := <-got
		if d.err != nil {
			t.Fatal(d.err)
		}
		served := make(chan error, 1)
		go func() {
			_, err := s.Serve(context.Background())
			served <- err
		}()
		c.v, c.log = []*victim{b, twin}, nil
		for range 100 {
			c.step()
			i := c.rnd.IntN(churnUnits)
			if at := base + uint64(i)*unitSize; c.unit[i] != -1 && c.rnd.IntN(3) == 0 {
				cmd, seed := "sum", uint64(0)
				if c.unit[i] == rw && c.rnd.IntN(4) == 0 && d.Puller.Forks() {
					cmd, seed = "fork", c.rnd.Uint64N(1<<32)
				}
				c.log = append(c.log, fmt.Sprintf("%s %#x", cmd, at))
				if x, y := b.ask(cmd, at, unitSize, seed), twin.ask(cmd, at, unitSize, seed); x != y {
					t.Fatalf("seed %d: memory at %#x has the sum %s, should have %s, after %q", seed, at, x, y, c.log)
				}
			}
		}
		if err := d.Puller.Finish(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		same(t, b, twin, mapped(b.image(), nil))
	}
}
