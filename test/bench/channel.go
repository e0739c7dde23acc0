package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"homing/kkc"
	"homing/syscallfwd"

	"golang.org/x/sys/unix"
)

// serveEnv makes this executable the other end of a channel: lane, tls or tcp.
const serveEnv = "HOMING_BENCH_SERVE"

// wireSizes are the lengths of a getppid and of its answer on a lane.
func wireSizes() (call, reply int) {
	c := syscallfwd.Call{NR: unix.SYS_GETPPID}
	r := syscallfwd.Reply{}
	return len(c.AppendBinary(nil)), len(r.AppendBinary(nil))
}

// serve is the other process. It says where it listens and ends with its input.
func serve(kind string) error {
	id, err := kkc.NewIdentity()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr(), id.Fingerprint)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the benchmark does
		os.Exit(0)
	}()
	switch kind {
	case "lane":
		return serveLanes(l, id)
	case "tls":
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{id.Cert}, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true})
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go pour(c)
	}
}

// serveLanes answers each frame with one of the length of a getppid's answer, as
// a home does that has nothing to execute.
func serveLanes(l net.Listener, id *kkc.Identity) error {
	_, size := wireSizes()
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
				go func() {
					defer lane.Close()
					answer := make([]byte, size)
					for {
						if _, err := lane.ReadFrame(); err != nil || lane.WriteFrame(answer) != nil {
							return
						}
					}
				}()
			}
		},
	}
	return srv.Serve(l)
}

const mib = 1 << 20

// pour sends as many bytes as it is asked for by a 64-bit number, again and again.
func pour(c net.Conn) {
	defer c.Close()
	buf := make([]byte, mib)
	for i := range buf {
		buf[i] = byte(i * 7)
	}
	var want [8]byte
	for {
		if _, err := io.ReadFull(c, want[:]); err != nil {
			return
		}
		for left := binary.LittleEndian.Uint64(want[:]); left > 0; {
			n, err := c.Write(buf[:min(left, mib)])
			if err != nil {
				return
			}
			left -= uint64(n)
		}
	}
}

// startServer starts the other process and returns its address and fingerprint.
func startServer(kind string) (addr, pin string, stop func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", "", nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serveEnv+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", "", nil, err
	}
	stop = func() {
		in.Close()
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Wait() // its status says nothing
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", "", nil, fmt.Errorf("the other end of the %s did not start: %w", kind, err)
	}
	addr, pin, _ = strings.Cut(strings.TrimSpace(line), " ")
	return addr, pin, stop, nil
}

// laneEcho makes a lane to another process and returns a function that times n
// round trips of a getppid's bytes: nanoseconds each.
func laneEcho(ctx context.Context, n int) (func(context.Context) (float64, error), func(), error) {
	addr, pin, stop, err := startServer("lane")
	if err != nil {
		return nil, nil, err
	}
	id, err := kkc.NewIdentity()
	if err != nil {
		stop()
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	s, err := kkc.Dial(ctx, addr, id, pin, kkc.Hello{})
	if err != nil {
		stop()
		return nil, nil, err
	}
	end := func() { s.Close("measured"); stop() }
	s.Start()
	lane, err := s.OpenLane()
	if err != nil {
		end()
		return nil, nil, err
	}
	size, _ := wireSizes()
	call := make([]byte, size)
	once := func(ctx context.Context) (float64, error) {
		defer context.AfterFunc(ctx, func() { go s.Close("too slow") })()
		start := time.Now()
		for range n {
			if err := lane.WriteFrame(call); err != nil {
				return 0, err
			}
			if _, err := lane.ReadFrame(); err != nil {
				return 0, err
			}
		}
		return float64(time.Since(start).Nanoseconds()) / float64(n), nil
	}
	return once, end, nil
}

// stream connects to another process (kind tls or tcp) and returns a function
// that times the arrival of size bytes, read by 1 MiB: milliseconds.
func stream(kind string, size int64) (func(context.Context) (float64, error), func(), error) {
	addr, _, stop, err := startServer(kind)
	if err != nil {
		return nil, nil, err
	}
	d := net.Dialer{Timeout: 15 * time.Second}
	var c net.Conn
	if kind == "tls" {
		// Whom we talk to is known: we have just started it.
		c, err = tls.DialWithDialer(&d, "tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true})
	} else {
		c, err = d.Dial("tcp", addr)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	buf := make([]byte, mib)
	once := func(ctx context.Context) (float64, error) {
		if deadline, ok := ctx.Deadline(); ok {
			if err := c.SetDeadline(deadline); err != nil {
				return 0, err
			}
		}
		start := time.Now()
		if err := binary.Write(c, binary.LittleEndian, uint64(size)); err != nil {
			return 0, err
		}
		for left := size; left > 0; left -= int64(len(buf)) {
			if _, err := io.ReadFull(c, buf[:min(left, mib)]); err != nil {
				return 0, errors.Join(err, ctx.Err())
			}
		}
		return float64(time.Since(start).Nanoseconds()) / 1e6, nil
	}
	return once, func() { c.Close(); stop() }, nil
}
