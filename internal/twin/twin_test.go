package twin

import (
	"bytes"
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"
)

func memfd(t testing.TB, size int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate("twin", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	return fd
}

func content(t *testing.T, fd int, size int64) []byte {
	t.Helper()
	b := make([]byte, size)
	if n, err := unix.Pread(fd, b, 0); err != nil || int64(n) != size {
		t.Fatalf("read %d of %d: %v", n, size, err)
	}
	return b
}

func write(t *testing.T, fd int, p []byte, at int64) {
	t.Helper()
	if _, err := unix.Pwrite(fd, p, at); err != nil {
		t.Fatal(err)
	}
}

// exchange makes both copies alike, as home and node do.
func exchange(t *testing.T, home, node *Copy) (bytes int) {
	t.Helper()
	pass := func(from, to *Copy) {
		p, err := from.Changes()
		if err == nil {
			err = to.Apply(p)
		}
		if err != nil {
			t.Fatal(err)
		}
		bytes += len(p)
	}
	pass(home, node)
	pass(node, home)
	return bytes
}

func TestBothWriteNothingIsLost(t *testing.T) {
	const size = 100_000
	a, b := memfd(t, size), memfd(t, size)
	home, node := New(a, size), New(b, size)
	rng := rand.New(rand.NewSource(1))
	want := make([]byte, size)
	for range 50 {
		for i := range 200 {
			at := rng.Int63n(size - 40)
			p := make([]byte, 1+rng.Intn(40))
			rng.Read(p)
			for j := range p { // even bytes are home's, odd ones the node's
				if (at+int64(j))%2 != int64(i%2) {
					continue
				}
				want[at+int64(j)] = p[j]
				write(t, []int{a, b}[i%2], p[j:j+1], at+int64(j))
			}
		}
		exchange(t, home, node)
		if !bytes.Equal(content(t, a, size), want) || !bytes.Equal(content(t, b, size), want) {
			t.Fatal("copies differ from what was written")
		}
		if n := exchange(t, home, node); n != 0 {
			t.Fatalf("%d bytes of changes when nothing has changed", n)
		}
	}
}

func TestMemory(t *testing.T) {
	const size = 10000
	mem, b := make([]byte, size), memfd(t, size)
	home, node := New(-1, size), New(b, size)
	home.UseMemory(mem)
	copy(mem[5000:], "from memory")
	exchange(t, home, node)
	write(t, b, []byte("to"), 9998)
	write(t, b, []byte("F"), 5000)
	exchange(t, home, node)
	if string(mem[5000:5011]) != "From memory" || string(mem[9998:]) != "to" || !bytes.Equal(content(t, b, size), mem) {
		t.Fatal("copies differ")
	}
	if n := exchange(t, home, node); n != 0 {
		t.Fatalf("%d bytes of changes when nothing has changed", n)
	}
}

func TestHolesStayHoles(t *testing.T) {
	const size = 1 << 30
	a, b := memfd(t, size), memfd(t, size)
	home, node := New(a, size), New(b, size)
	write(t, a, []byte("far"), 900<<20)
	if n := exchange(t, home, node); n > 64 {
		t.Fatalf("%d bytes for three", n)
	}
	var st unix.Stat_t
	if err := unix.Fstat(b, &st); err != nil || st.Blocks > 16 {
		t.Fatalf("%d blocks, %v", st.Blocks, err)
	}
	// A hole that one side punches reads as zeros at the other.
	if err := unix.Fallocate(b, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 900<<20, pageSize); err != nil {
		t.Fatal(err)
	}
	exchange(t, home, node)
	var p [3]byte
	if _, err := unix.Pread(a, p[:], 900<<20); err != nil || p != [3]byte{} {
		t.Fatalf("%q, %v", p, err)
	}
}

func TestSizes(t *testing.T) {
	a, b := memfd(t, 10000), memfd(t, 10000)
	home, node := New(a, 10000), New(b, 10000)
	write(t, a, bytes.Repeat([]byte("x"), 10000), 0)
	exchange(t, home, node)
	resize := func(n int64) {
		for _, fd := range []int{a, b} {
			if err := unix.Ftruncate(fd, n); err != nil {
				t.Fatal(err)
			}
		}
		home.Resize(n)
		node.Resize(n)
	}
	resize(5000)
	resize(20000)
	if n := exchange(t, home, node); n != 0 {
		t.Fatalf("%d bytes of changes after changes of size alone", n)
	}
	write(t, b, []byte("end"), 19997)
	exchange(t, home, node)
	got := content(t, a, 20000)
	if string(got[19997:]) != "end" || got[4999] != 'x' || got[5000] != 0 {
		t.Fatal("wrong content")
	}
}

func TestApplyRefusesNonsense(t *testing.T) {
	fd := memfd(t, 100)
	for _, p := range [][]byte{{0x80}, {0, 5, 'a'}, {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if New(fd, 100).Apply(p) == nil {
			t.Errorf("%v taken", p)
		}
	}
	if err := New(fd, 100).Apply([]byte{99, 3, 'a', 'b', 'c'}); err != nil {
		t.Fatal(err) // the file became shorter meanwhile
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte{1, 2, 'a', 'b', 90, 3, 'c', 'd', 'e'})
	fd := memfd(f, 100)
	f.Fuzz(func(_ *testing.T, p []byte) { _ = New(fd, 100).Apply(p) })
}
