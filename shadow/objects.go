package shadow

import (
	"fmt"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
)

// sharedObjects are memfds, by object number, for memory that several
// processes on their way home share.
type sharedObjects map[uint64]int

func (o sharedObjects) make(back []*returning) error {
	sizes := map[uint64]uint64{}
	for _, r := range back {
		for _, v := range r.img.Image.VMAs {
			if v.Object != 0 {
				sizes[v.Object] = max(sizes[v.Object], v.Offset+v.End-v.Start)
			}
		}
	}
	for id, size := range sizes {
		fd, err := unix.MemfdCreate(checkpoint.SharedName, unix.MFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("shared memory: %w", err)
		}
		o[id] = fd
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return fmt.Errorf("shared memory: %w", err)
		}
	}
	return nil
}

func (o sharedObjects) close() {
	for _, fd := range o {
		unix.Close(fd)
	}
}
