package transfer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
)

// tlsPair is what kkc gives: TLS 1.3 over TCP.
func tlsPair(t testing.TB) (net.Conn, net.Conn) {
	return tlsOver(t, func(c net.Conn) net.Conn { return c })
}

func tlsOver(t testing.TB, over func(net.Conn) net.Conn) (net.Conn, net.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // both ends are here
	}
	a, b := tcpPair(t)
	here, there := tls.Client(over(a), cfg), tls.Server(over(b), cfg)
	done := make(chan error, 1)
	go func() { done <- there.Handshake() }()
	if err := here.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return here, there
}

const benchBytes = 1 << 30

// cpu reports the processor time of what is measured, which other programs on
// the machine disturb less than its duration.
func cpu(b *testing.B) (start, stop func()) {
	used := func() time.Duration {
		var ru unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
			b.Fatal(err)
		}
		return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	var sum, since time.Duration
	start = func() { since = used(); b.StartTimer() }
	stop = func() {
		b.StopTimer()
		sum += used() - since
		b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "cpu-ms/op")
	}
	return start, stop
}

// BenchmarkRaw is the baseline: so many bytes over one connection.
func BenchmarkRaw(b *testing.B) {
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){"tcp": tcpPair, "tls": tlsPair} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchBytes)
			buf := make([]byte, 1<<20)
			start, stop := cpu(b)
			for range b.N {
				b.StopTimer()
				here, there := pair(b)
				start()
				done := make(chan error, 1)
				go func() {
					in := make([]byte, 1<<20)
					for n := 0; n < benchBytes; n += len(in) {
						if _, err := io.ReadFull(there, in); err != nil {
							done <- err
							return
						}
					}
					_, err := there.Write([]byte{1})
					done <- err
				}()
				for n := 0; n < benchBytes; n += len(buf) {
					if _, err := here.Write(buf); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := here.Read(buf[:1]); err != nil {
					b.Fatal(err)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				stop()
			}
		})
	}
}

// BenchmarkStop moves the same number of bytes of a process into a fresh one.
func BenchmarkStop(b *testing.B) {
	for _, huge := range []bool{false, true} {
		for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){"tcp": tcpPair, "tls": tlsPair} {
			b.Run(fmt.Sprintf("%s huge %v", name, huge), func(b *testing.B) {
				im := &checkpoint.Image{VMAs: []checkpoint.VMA{{Start: base, End: base + benchBytes, Prot: rw, File: -1}}}
				v := start(b)
				v.mapAll(im)
				if huge {
					v.must("advise", base, benchBytes, unix.MADV_HUGEPAGE)
				}
				v.must("fill", base, benchBytes, 3)
				v.stop()
				im.Pages = v.pages(im)
				b.SetBytes(benchBytes)
				begin, end := cpu(b)
				for range b.N {
					b.StopTimer()
					to := start(b)
					to.mapAll(im)
					here, there := pair(b)
					begin()
					got := receive(there, Body{PID: to.pid, Image: im})
					s := NewSource(here, v.pid, Options{})
					if _, err := s.Final(context.Background(), Final{Image: im}); err != nil {
						b.Fatal(err)
					}
					if d := <-got; d.err != nil {
						b.Fatal(d.err)
					}
					end()
					s.Close()
					_ = unix.Kill(to.pid, unix.SIGKILL) // ours
				}
			})
		}
	}
}

// BenchmarkSmall is what a small process waits for: the whole of a transfer.
func BenchmarkSmall(b *testing.B) {
	im := &checkpoint.Image{VMAs: []checkpoint.VMA{{Start: base, End: base + mib, Prot: rw, File: -1}}}
	v, to := start(b), start(b)
	v.mapAll(im)
	to.mapAll(im)
	v.must("fill", base, 200<<10, 3)
	v.stop()
	im.Pages = v.pages(im)
	here, there := tlsPair(b)
	b.ResetTimer()
	for range b.N {
		got := receive(there, Body{PID: to.pid, Image: im})
		s := NewSource(here, v.pid, Options{})
		if _, err := s.Final(context.Background(), Final{Image: im}); err != nil {
			b.Fatal(err)
		}
		if d := <-got; d.err != nil {
			b.Fatal(d.err)
		}
		s.Close()
	}
}

// BenchmarkPostcopy fetches everything by faults, in order and at random, and
// unasked.
func BenchmarkPostcopy(b *testing.B) {
	if err := Probe().Fault; err != nil {
		b.Skip(err)
	}
	const size = 256 * mib
	im := &checkpoint.Image{VMAs: []checkpoint.VMA{{Start: base, End: base + size, Prot: rw, File: -1}}}
	v := start(b)
	v.mapAll(im)
	v.must("fill", base, size, 3)
	v.stop()
	im.Pages = v.pages(im)
	for _, how := range []string{"unasked", "faults", "both"} {
		b.Run(how, func(b *testing.B) {
			b.SetBytes(size)
			for range b.N {
				b.StopTimer()
				to := start(b)
				to.mapAll(im)
				here, there := tlsPair(b)
				b.StartTimer()
				got := receive(there, Body{PID: to.pid, Image: im, Userfault: func() (Userfault, error) { return to.userfault(0) }})
				opt := Options{}
				if how == "faults" {
					opt.Rate = 1 << 10
				}
				s := NewSource(here, v.pid, opt)
				if _, err := s.Final(context.Background(), Final{Image: im, Lazy: true}); err != nil {
					b.Fatal(err)
				}
				d := <-got
				if d.err != nil {
					b.Fatal(d.err)
				}
				served := make(chan error, 1)
				go func() {
					_, err := s.Serve(context.Background())
					served <- err
				}()
				if how != "unasked" {
					to.ask("sum", base, size, 0)
				}
				if err := d.Puller.Wait(); err != nil {
					b.Fatal(err)
				}
				if err := <-served; err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				s.Close()
				_ = unix.Kill(to.pid, unix.SIGKILL) // ours
				b.StartTimer()
			}
		})
	}
}

// BenchmarkFreeze is how long a program of 1 GiB, which writes 64 MiB a second,
// stands still for its memory.
func BenchmarkFreeze(b *testing.B) {
	im := &checkpoint.Image{VMAs: []checkpoint.VMA{{Start: base, End: base + benchBytes, Prot: rw, File: -1}}}
	for _, how := range []Strategy{Stop, Pre, Post, Hybrid} {
		b.Run(string(how), func(b *testing.B) {
			var frozen, total time.Duration
			for range b.N {
				v, to := start(b), start(b)
				v.mapAll(im)
				to.mapAll(im)
				v.must("fill", base, benchBytes, 3)
				v.must("dirty", base, benchBytes, 64*mib)
				here, there := tlsPair(b)
				began := time.Now()
				got := receive(there, Body{PID: to.pid, Image: im, Drop: to.drop, Userfault: func() (Userfault, error) { return to.userfault(0) }})
				s := NewSource(here, v.pid, Options{})
				f := Final{Image: im, Lazy: how == Post || how == Hybrid}
				if how == Pre || how == Hybrid {
					u, err := v.userfault(linux.UserfaultUserModeOnly)
					if err != nil {
						b.Fatal(err)
					}
					if f.Tracker, err = NewTracker(v.pid, u, nil); err != nil {
						b.Fatal(err)
					}
					if _, err := s.Precopy(context.Background(), f.Tracker, func() ([]byte, *checkpoint.Image, error) { return nil, im, nil }, Aim{}); err != nil {
						b.Fatal(err)
					}
				}
				stopped := time.Now()
				v.stop()
				im.Pages = v.pages(im)
				if _, err := s.Final(context.Background(), f); err != nil {
					b.Fatal(err)
				}
				d := <-got
				if d.err != nil {
					b.Fatal(d.err)
				}
				frozen += time.Since(stopped)
				if d.Puller != nil {
					if _, err := s.Serve(context.Background()); err != nil {
						b.Fatal(err)
					}
					if err := d.Puller.Wait(); err != nil {
						b.Fatal(err)
					}
				}
				total += time.Since(began)
				s.Close()
				_, _ = unix.Kill(v.pid, unix.SIGKILL), unix.Kill(to.pid, unix.SIGKILL) // ours
			}
			b.ReportMetric(float64(frozen.Microseconds())/1e3/float64(b.N), "freeze-ms/op")
			b.ReportMetric(float64(total.Microseconds())/1e3/float64(b.N), "total-ms/op")
		})
	}
}
