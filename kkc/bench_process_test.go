package kkc_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"homing/kkc"
)

// The echo benchmarks with the other end in another process, as in real life:
// there waking the other side is a matter of the kernel, not of Go's scheduler.

const echoEnv = "KKC_TEST_ECHO"

// echoProcess is the other process: it prints its address and fingerprint.
func echoProcess() {
	id, err := kkc.NewIdentity()
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr(), id.Fingerprint)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if os.Getenv(echoEnv) == "tls" {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{id.Cert}})
		io.CopyBuffer(struct{ io.Writer }{t}, struct{ io.Reader }{t}, make([]byte, 4096))
		return
	}
	srv := &kkc.Server{
		Identity: id,
		Hello:    func(kkc.Peer, kkc.Hello) (kkc.Hello, error) { return kkc.Hello{}, nil },
		Handle: func(s *kkc.Session) {
			s.Start()
			for {
				lane, err := s.AcceptLane()
				if err != nil {
					return
				}
				go echoLane(lane)
			}
		},
	}
	srv.Serve(l)
}

// startEcho starts the other process and returns its address and fingerprint.
func startEcho(b *testing.B, kind string) (addr, pin string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), echoEnv+"="+kind)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	addr, pin, _ = strings.Cut(strings.TrimSpace(line), " ")
	return addr, pin
}

func BenchmarkLaneEchoProcess(b *testing.B) {
	addr, pin := startEcho(b, "lane")
	id, err := kkc.NewIdentity()
	if err != nil {
		b.Fatal(err)
	}
	s, err := kkc.Dial(context.Background(), addr, id, pin, kkc.Hello{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close("measured")
	s.Start()
	lane, err := s.OpenLane()
	if err != nil {
		b.Fatal(err)
	}
	msg := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if err := lane.WriteFrame(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := lane.ReadFrame(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTLSEchoProcess(b *testing.B) {
	addr, _ := startEcho(b, "tls")
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	msg, back := make([]byte, 100), make([]byte, 100)
	for b.Loop() {
		if _, err := c.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, back); err != nil {
			b.Fatal(err)
		}
	}
}
