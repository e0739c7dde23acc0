package kkc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"homing/kkc"
	"homing/kkc/kkctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(echoEnv) != "" {
		echoProcess()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestLane(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	home, node := p.Lane(t)
	sizes := []int{0, 1, 12, 64, 4096, 65536, 65537, 1 << 20, 5 << 20, 3}
	go func() {
		for {
			f, err := node.ReadFrame()
			if err != nil {
				node.Close()
				return
			}
			node.WriteFrame(f[:len(f)/2], f[len(f)/2:])
		}
	}()
	for _, n := range sizes {
		want := make([]byte, n)
		rand.Read(want)
		if err := home.WriteFrame(want); err != nil {
			t.Fatal(err)
		}
		got, err := home.ReadFrame()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("frame of %d bytes: %d came back, %v", n, len(got), err)
		}
	}
	if err := home.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := home.ReadFrame(); !errors.Is(err, kkc.ErrLaneClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestLaneEnd(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	home, node := p.Lane(t)
	home.WriteFrame([]byte("last"))
	home.Close()
	if f, err := node.ReadFrame(); err != nil || string(f) != "last" {
		t.Fatalf("%q, %v", f, err)
	}
	for range 2 {
		if _, err := node.ReadFrame(); err != io.EOF {
			t.Fatalf("want io.EOF, got %v", err)
		}
	}
}

func TestControl(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	var order []int
	p.Node.HandleAsync("note", func(b json.RawMessage) {
		var n int
		json.Unmarshal(b, &n)
		order = append(order, n)
	})
	p.Node.Handle("count", func(ctx context.Context, b json.RawMessage) (any, error) { return len(order), nil })
	p.Node.Handle("fail", func(ctx context.Context, b json.RawMessage) (any, error) { return nil, errors.New("no luck") })
	cancelled := make(chan struct{})
	p.Node.Handle("hang", func(ctx context.Context, b json.RawMessage) (any, error) {
		<-ctx.Done()
		close(cancelled)
		return nil, ctx.Err()
	})
	p.Home.Handle("big", func(ctx context.Context, b json.RawMessage) (any, error) { return b, nil })
	p.Start()
	for i := range 100 {
		if err := p.Home.Send("note", i); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := p.Home.Request(t.Context(), "count", nil, &n); err != nil || n != 100 {
		t.Fatalf("%d, %v", n, err)
	}
	for i, v := range order {
		if i != v {
			t.Fatalf("message %d came as number %d", v, i)
		}
	}
	var remote *kkc.RemoteError
	if err := p.Home.Request(t.Context(), "fail", nil, nil); !errors.As(err, &remote) || remote.Text != "no luck" {
		t.Fatal(err)
	}
	if err := p.Home.Request(t.Context(), "unknown", nil, nil); !errors.As(err, &remote) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Home.Request(ctx, "hang", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	<-cancelled
	big := bytes.Repeat([]byte("x"), 3<<20)
	var back []byte
	if err := p.Node.Request(t.Context(), "big", big, &back); err != nil || !bytes.Equal(big, back) {
		t.Fatalf("%d bytes, %v", len(back), err)
	}
}

func TestBulk(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	id := p.Home.NextBulkID()
	if id%2 != 1 || p.Node.NextBulkID()%2 != 0 {
		t.Fatal("ids")
	}
	want := make([]byte, 3<<20+5)
	rand.Read(want)
	sent := make(chan error, 1)
	go func() { sent <- p.Home.BulkSend(id, want[:10], want[10:5000], want[5000:2<<20], want[2<<20:]) }()
	got := make([]byte, len(want))
	for _, cut := range [][2]int{{0, 1}, {1, 100000}, {100000, 2 << 20}, {2 << 20, len(want)}} {
		if err := p.Node.BulkRecv(t.Context(), id, got[cut[0]:cut[1]]); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-sent; err != nil || !bytes.Equal(got, want) {
		t.Fatalf("differs; %v", err)
	}
}

func TestBye(t *testing.T) {
	p := kkctest.NewPair(t, kkctest.Options{})
	p.Start()
	start := time.Now()
	p.Home.Close("done here")
	if d := time.Since(start); d > 900*time.Millisecond {
		t.Errorf("bye took %v", d)
	}
	<-p.Node.Done()
	var end *kkc.EndError
	if err := p.Node.Err(); !errors.As(err, &end) || !end.Clean || !end.ByPeer || end.Reason != "done here" {
		t.Fatal(err)
	}
	if !kkc.IsClean(p.Home.Err()) {
		t.Fatal(p.Home.Err())
	}
	if _, err := p.Node.OpenLane(); !kkc.IsClean(err) {
		t.Fatal(err)
	}
}
