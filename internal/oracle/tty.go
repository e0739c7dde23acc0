package oracle

import (
	"fmt"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal whose master can be closed while it is read.
func openTerminal(rows, cols uint16) (master, slave *os.File, err error) {
	m, slave, err := pty.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	defer m.Close()
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true) // lets os.NewFile use the poller
	}
	if err == nil {
		master = os.NewFile(uintptr(fd), m.Name())
		err = resize(master, rows, cols)
	}
	if err != nil {
		slave.Close()
		return nil, nil, fmt.Errorf("set up a terminal: %w", err)
	}
	return master, slave, nil
}

// control runs f with the descriptor's number, leaving the file in the poller.
func control(file *os.File, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := c.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

func resize(master *os.File, rows, cols uint16) error {
	return control(master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// tcgetpgrp is tcgetpgrp(3): the foreground process group of a terminal.
func tcgetpgrp(master *os.File) (pgid int, err error) {
	err = control(master, func(fd int) (err error) {
		pgid, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return pgid, err
}
