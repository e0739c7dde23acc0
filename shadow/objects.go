package shadow

import (
	"fmt"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
)

// sharedObjects are memfds, by object number, for memory that several
// processes on their way home share.
type sharedObjects map[uint64]int

// make makes the objects that an image maps, or makes room in them.
func (o sharedObjects) make(im *checkpoint.Image) error {
	for _, v := range im.VMAs {
		if v.Object == 0 {
			continue
		}
		fd, ok := o[v.Object]
		if !ok {
			var err error
			if fd, err = unix.MemfdCreate(checkpoint.SharedName, unix.MFD_CLOEXEC); err != nil {
				return fmt.Errorf("shared memory: %w", err)
			}
			o[v.Object] = fd
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("shared memory: %w", err)
		}
		if size := int64(v.Offset + v.End - v.Start); size > st.Size {
			if err := unix.Ftruncate(fd, size); err != nil {
				return fmt.Errorf("shared memory: %w", err)
			}
		}
	}
	return nil
}

func (o sharedObjects) close() {
	for _, fd := range o {
		unix.Close(fd)
	}
}
