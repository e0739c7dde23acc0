// A program of many goroutines and threads that checks itself while it is moved, for $VICTIM_MS: channels and locks keep
// their order, timers are never early, memory that the collector moves about keeps its contents, connections with itself
// lose nothing, clocks never go back.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var faults atomic.Int32

func check(ok bool, format string, args ...any) {
	if !ok && faults.Add(1) <= 5 {
		fmt.Printf(format+"\n", args...)
	}
}

func main() {
	ms, err := strconv.Atoi(os.Getenv("VICTIM_MS"))
	if err != nil {
		ms = 200
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(ms)*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for _, f := range []func(context.Context){compute, pipeline, timers, garbage, network, locked, clocks, signals, children} {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
	if faults.Load() == 0 {
		fmt.Println("all held")
	}
}

// compute hashes the same thing on threads of their own, pre-empted by signals.
func compute(ctx context.Context) {
	var wg sync.WaitGroup
	want := chain(20000)
	for range 3 {
		wg.Go(func() {
			runtime.LockOSThread()
			for ctx.Err() == nil {
				got := chain(20000)
				check(got == want, "compute: %x, not %x", got[:4], want[:4])
			}
		})
	}
	wg.Wait()
}

func chain(n int) (sum [32]byte) {
	for range n {
		sum = sha256.Sum256(sum[:])
	}
	return sum
}

// pipeline sends numbers through stages, which must come out in order and once.
func pipeline(ctx context.Context) {
	in := make(chan int)
	c := in
	for i := range 8 {
		next := make(chan int, i%3)
		go func(in <-chan int) {
			for v := range in {
				next <- v + 1
			}
			close(next)
		}(c)
		c = next
	}
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			in <- n
		}
		close(in)
	}()
	n := 0
	for v := range c {
		check(v == n+8, "pipeline: %d, not %d", v, n+8)
		n++
	}
}

// timers are never early, and tickers go on.
func timers(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			d := time.Duration(3+i*5) * time.Millisecond
			for ctx.Err() == nil {
				began := time.Now()
				<-time.After(d)
				took := time.Since(began)
				check(took >= d && took < d+10*time.Second, "timers: %v took %v", d, took)
			}
		})
	}
	last := time.Now()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for ctx.Err() == nil {
		now := <-t.C
		check(now.After(last), "ticker: %v after %v", now, last)
		last = now
	}
	wg.Wait()
}

type node struct {
	left, right *node
	key         uint64
	data        []byte
}

// garbage builds trees, drops them, and looks whether what is kept is what was put there.
func garbage(ctx context.Context) {
	var kept []*node
	for round := uint64(0); ctx.Err() == nil; round++ {
		kept = append(kept, tree(8, round))
		if len(kept) > 10 {
			check(sum(kept[0]) == sum(tree(8, round-10)), "garbage: tree %d has changed", round-10)
			kept = kept[1:]
		}
		if round%20 == 0 {
			runtime.GC()
		}
	}
}

func tree(depth int, key uint64) *node {
	if depth == 0 {
		return nil
	}
	n := &node{key: key, data: make([]byte, 16+key%100)}
	binary.LittleEndian.PutUint64(n.data, key*31)
	n.left, n.right = tree(depth-1, key*2+1), tree(depth-1, key*3+1)
	return n
}

func sum(n *node) uint64 {
	if n == nil {
		return 1
	}
	return n.key*7 + binary.LittleEndian.Uint64(n.data) + sum(n.left)*3 + sum(n.right)*5
}

// network has connections with itself, in whose streams every byte is known.
func network(ctx context.Context) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		check(false, "network: %v", err)
		return
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { echo(l) })
		wg.Go(func() { talk(ctx, l.Addr().String()) })
	}
	wg.Wait()
	l.Close()
}

func echo(l net.Listener) {
	c, err := l.Accept()
	if err == nil {
		_, err = io.Copy(c, c)
		c.Close()
	}
	check(err == nil, "echo: %v", err)
}

func talk(ctx context.Context, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		check(false, "talk: %v", err)
		return
	}
	defer c.Close()
	var sent, got int
	done := make(chan bool)
	go func() {
		b := make([]byte, 5003)
		for {
			_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
			n, err := c.Read(b)
			for _, v := range b[:n] {
				check(v == byte(got*7>>3), "talk: byte %d is %d", got, v)
				got++
			}
			if err != nil {
				check(err == io.EOF, "talk: %v", err)
				close(done)
				return
			}
		}
	}()
	for ctx.Err() == nil {
		b := make([]byte, 1+sent%9001)
		for i := range b {
			b[i] = byte((sent + i) * 7 >> 3)
		}
		n, err := c.Write(b)
		check(err == nil && n == len(b), "talk: wrote %d of %d: %v", n, len(b), err)
		sent += n
	}
	_ = c.(*net.TCPConn).CloseWrite()
	<-done
	check(got == sent, "talk: sent %d, got %d", sent, got)
}

// locked counts under locks and with conditions.
func locked(ctx context.Context) {
	var (
		mu      sync.RWMutex
		cond    = sync.NewCond(&sync.Mutex{})
		turn, n int
		wg      sync.WaitGroup
		total   atomic.Int64
		stop    bool
	)
	for i := range 4 {
		wg.Go(func() {
			for {
				cond.L.Lock()
				for turn != i && !stop {
					cond.Wait()
				}
				if ctx.Err() != nil {
					stop = true
				}
				end := stop
				turn = (turn + 1) % 4
				cond.Broadcast()
				cond.L.Unlock()
				if end {
					return
				}
				mu.Lock()
				n++
				mu.Unlock()
				mu.RLock()
				check(n > 0, "locked: nothing counted")
				mu.RUnlock()
				total.Add(1)
			}
		})
	}
	wg.Wait()
	check(int64(n) == total.Load(), "locked: %d, not %d", n, total.Load())
}

// clocks never go back.
func clocks(ctx context.Context) {
	last := time.Now()
	for ctx.Err() == nil {
		now := time.Now()
		check(now.Sub(last) >= 0 && now.Sub(last) < 10*time.Second, "clocks: %v", now.Sub(last))
		last = now
		runtime.Gosched()
	}
}

// signals that are sent are received.
func signals(ctx context.Context) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	for ctx.Err() == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
		select {
		case <-c:
		case <-time.After(20 * time.Second):
			check(false, "signals: none came")
			return
		}
	}
}

// children end with what they are to end with.
func children(ctx context.Context) {
	for ctx.Err() == nil {
		out, err := exec.Command("/bin/sh", "-c", "read x; echo $x$x; exit 3").CombinedOutput()
		var exit *exec.ExitError
		if e, ok := err.(*exec.ExitError); ok {
			exit = e
		}
		check(string(out) == "\n" && exit != nil && exit.ExitCode() == 3, "children: %q %v", out, err)
	}
}
