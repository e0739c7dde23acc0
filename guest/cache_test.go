package guest

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
)

func TestMappedAsTellsWhatMapsPrint(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	for _, content := range []string{"", "x"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := mappedAs(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if got.ino != st.Ino {
			t.Errorf("inode %d, want %d", got.ino, st.Ino)
		}
	}
}

func TestOriginOfUnknownInode(t *testing.T) {
	c, err := newCache("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.origin(1, 2); ok {
		t.Error("an inode that was never fetched has an origin")
	}
	want := checkpoint.File{Path: "/bin/ls", Ino: 9}
	c.origins[inode{1, 2}] = want
	if got, ok := c.origin(1, 2); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
}
