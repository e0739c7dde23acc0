package kkc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"homing/kkc"
	"homing/kkc/kkctest"
)

// Transfers in both directions at once, cut differently at both ends.
func TestBulkInterleaved(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	var wg sync.WaitGroup
	for i := range 8 {
		from, to := p.Home, p.Node
		if i%2 == 1 {
			from, to = p.Node, p.Home
		}
		id := from.NextBulkID()
		want := make([]byte, 1<<20+i*1001)
		for j := range want {
			want[j] = byte(j * (i + 3) >> 3)
		}
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for rest := want; len(rest) > 0; {
				var parts [][]byte
				for range 1 + rnd.IntN(20) {
					n := min(len(rest), rnd.IntN(1+1<<(2+rnd.IntN(18))))
					parts = append(parts, rest[:n])
					rest = rest[n:]
				}
				if err := from.BulkSend(id, parts...); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(i)))
			got := make([]byte, len(want))
			for rest := got; len(rest) > 0; {
				n := min(len(rest), rnd.IntN(300000))
				if err := to.BulkRecv(context.Background(), id, rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("transfer %d differs", id)
			}
		})
	}
	wg.Wait()
}

// A receiver that gives up, at any moment, harms no other transfer, and its
// buffer is its own again.
func TestBulkGiveUp(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	good := p.Home.NextBulkID()
	want := bytes.Repeat([]byte("good"), 1<<18)
	for i := range 20 {
		id := p.Home.NextBulkID()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Home.BulkSend(id, bytes.Repeat([]byte("lost"), 1<<19)) })
		wg.Go(func() {
			time.Sleep(time.Duration(i*50) * time.Microsecond)
			cancel()
		})
		lost := make([]byte, 4<<20) // more than comes
		if err := p.Node.BulkRecv(ctx, id, lost); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		clear(lost) // the race detector watches
		if i%2 == 0 {
			p.Node.BulkDrop(p.Home.NextBulkID())
		}
		wg.Go(func() { p.Home.BulkSend(good, want) })
		got := make([]byte, len(want))
		if err := p.Node.BulkRecv(t.Context(), good, got); err != nil || !bytes.Equal(got, want) {
			t.Fatal(err)
		}
		wg.Wait()
	}
}

func TestBulkDrop(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{Limits: quick}) // parks 1 MiB only, and not for long
	p.Start()
	for range 10 {
		id := p.Home.NextBulkID()
		if err := p.Home.BulkSend(id, make([]byte, 200<<10)); err != nil {
			t.Fatal(err)
		}
		p.Node.BulkDrop(id)
	}
	id := p.Home.NextBulkID()
	p.Home.BulkSend(id, []byte("fine"))
	got := make([]byte, 4)
	if err := p.Node.BulkRecv(t.Context(), id, got); err != nil || string(got) != "fine" {
		t.Fatal(err)
	}
}

func TestBulkTwoReceivers(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for range 2 {
		go func() { errs <- p.Node.BulkRecv(ctx, 1, make([]byte, 1)) }()
	}
	if err := <-errs; errors.Is(err, context.Canceled) {
		t.Fatal("both wait")
	}
	cancel()
	<-errs
}

// Everything at once, ended in the middle: nothing hangs, all errors are clean.
func TestEndUnderLoad(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	echo := func(_ context.Context, b json.RawMessage) (any, error) { return b, nil }
	p.Home.Handle("echo", echo)
	p.Node.Handle("echo", echo)
	p.Start()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			l, err := p.Node.AcceptLane()
			if err != nil {
				return
			}
			wg.Go(func() { echoLane(l) })
		}
	})
	check := func(err error) {
		if !kkc.IsClean(err) {
			t.Error(err)
		}
	}
	for i := range 8 {
		wg.Go(func() {
			l, err := p.Home.OpenLane()
			for err == nil {
				if err = l.WriteFrame(make([]byte, 1<<(2*i))); err == nil {
					_, err = l.ReadFrame()
				}
			}
			check(err)
		})
		wg.Go(func() {
			s := []*kkc.Session{p.Home, p.Node}[i%2]
			for {
				var n int
				if err := s.Request(context.Background(), "echo", i, &n); err != nil {
					check(err)
					return
				}
				if n != i {
					t.Errorf("%d came back for %d", n, i)
				}
			}
		})
	}
	id := p.Node.NextBulkID()
	wg.Go(func() {
		for p.Node.BulkSend(id, make([]byte, 100000)) == nil {
		}
	})
	wg.Go(func() {
		b := make([]byte, 300000)
		for {
			if err := p.Home.BulkRecv(context.Background(), id, b); err != nil {
				check(err)
				return
			}
		}
	})
	time.Sleep(100 * time.Millisecond)
	p.Home.Close("enough")
	wg.Wait()
	<-p.Node.Done()
	if !kkc.IsClean(p.Node.Err()) {
		t.Error(p.Node.Err())
	}
}
