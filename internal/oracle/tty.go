package oracle

import (
	"os"

	"golang.org/x/sys/unix"
)

// tcgetpgrp is tcgetpgrp(3): the foreground process group of a terminal.
func tcgetpgrp(f *os.File) (int, error) {
	return unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
}
