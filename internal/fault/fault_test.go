package fault

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func arm(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(&points{fd})
	t.Cleanup(func() {
		armed.Store(nil)
		unix.Close(fd)
	})
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPoints(t *testing.T) {
	if err := Point("x"); err != nil {
		t.Errorf("not armed: %v", err)
	}
	dir := arm(t)
	if err := Point("x"); err != nil {
		t.Errorf("no file: %v", err)
	}
	put(t, dir, "x", "error so it is")
	if err := Point("x"); err == nil || err.Error() != "so it is" {
		t.Errorf("error: %v", err)
	}
	if err := Point("x"); err != nil {
		t.Errorf("the second: %v", err)
	}
	put(t, dir, "x", "always error so it is")
	for range 2 {
		if Point("x") == nil {
			t.Error("always: no error")
		}
	}
	cut := false
	put(t, dir, "y", "cut")
	if err := Point("y", Closer(func() { cut = true })); err != nil || !cut {
		t.Errorf("cut: %v, %v", err, cut)
	}
	put(t, dir, "v", "avx2 avx512f")
	if v, ok := Value("v"); !ok || v != "avx2 avx512f" {
		t.Errorf("value %q, %v", v, ok)
	}
	if _, ok := Value("w"); ok {
		t.Error("a value that nobody gave")
	}
}

func TestWait(t *testing.T) {
	dir := arm(t)
	put(t, dir, "z", "wait")
	done := make(chan error, 1)
	go func() { done <- Point("z") }()
	for {
		if _, err := os.Stat(filepath.Join(dir, "z.here")); err == nil {
			break
		}
	}
	select {
	case <-done:
		t.Error("did not wait")
	default:
	}
	if err := os.Remove(filepath.Join(dir, "z")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkUnarmed(b *testing.B) {
	for b.Loop() {
		_ = Point("x")
	}
}
