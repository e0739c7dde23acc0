package transfer

import "fmt"

// UnsupportedError says what this kernel, or the rights we have, do not allow,
// and what would be needed. Stop-copy works everywhere.
type UnsupportedError struct {
	What string // "pre-copy", "post-copy"
	Need string
	Err  error
}

func (e *UnsupportedError) Error() string {
	s := e.What + " is not possible here: it needs " + e.Need
	if e.Err != nil {
		s += fmt.Sprintf(" (%v)", e.Err)
	}
	return s
}

func (e *UnsupportedError) Unwrap() error { return e.Err }

// RemoteError is why the other end gave up, in its words.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return "the other end: " + e.Text }

// LostError says that a process's memory cannot be completed: it runs here,
// but a part of its pages was still at the source, which is gone.
type LostError struct {
	PID     int
	Missing uint64 // bytes
	Err     error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("process %d cannot go on: %d bytes of its memory were still where it came from: %v", e.PID, e.Missing, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }
