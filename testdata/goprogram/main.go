// Goroutines, channels, timers, net/http with itself, os/exec, signals, and loops that only SIGURG can pre-empt.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	preempted()
	pipeline()
	web()
	children()
	signals()
	fmt.Println(runtime.NumCPU() > 0, os.Getppid() > 0)
	defer os.Exit(3)
	defer func() { fmt.Println("recovered:", recover()) }()
	var m *int
	*m = 1
}

// preempted has more spinning goroutines than processors: others get on only by asynchronous pre-emption.
func preempted() {
	var stop atomic.Bool
	var spun [8]int64
	var wg sync.WaitGroup
	for i := range spun {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ; n++ {
				if n%1000000 == 0 && stop.Load() {
					return
				}
				spun[i]++
			}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	stop.Store(true)
	wg.Wait()
	for i := range spun {
		if spun[i] == 0 {
			fmt.Println("starved", i)
		}
	}
	fmt.Println("pre-emption works")
}

func pipeline() {
	in, out := make(chan int), make(chan int)
	var wg sync.WaitGroup
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for v := range in {
				b := make([]byte, 10000)
				out <- v * len(b)
			}
		}()
	}
	go func() {
		for i := range 5000 {
			in <- i
		}
		close(in)
		wg.Wait()
		close(out)
	}()
	sum := 0
	for v := range out {
		sum += v
	}
	fmt.Println("sum", sum)
}

func web() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %d", r.URL.Path, len(b))
	})}
	go srv.Serve(l)
	var wg sync.WaitGroup
	answers := make([]string, 20)
	for i := range answers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := http.Post(fmt.Sprintf("http://%s/%d", l.Addr(), i), "text/plain", strings.NewReader(strings.Repeat("x", i*5000)))
			if err != nil {
				answers[i] = err.Error()
				return
			}
			b, _ := io.ReadAll(r.Body)
			answers[i] = string(b)
		}()
	}
	wg.Wait()
	fmt.Println(answers)
	_, err = net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	fmt.Println(err)
	srv.Close()
}

func children() {
	out, err := exec.Command("sh", "-c", "echo child; exit 4").Output()
	fmt.Printf("%q %v\n", out, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(exec.CommandContext(ctx, "sleep", "10").Run())
	fmt.Println(exec.Command("/nonexistent").Run())
}

func signals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	select {
	case s := <-c:
		fmt.Println(s)
	case <-time.After(2 * time.Second):
		fmt.Println("no signal")
	}
}
