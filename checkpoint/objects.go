package checkpoint

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Objects are memfds, by object number, for the shared anonymous memory of
// processes that arrive together.
type Objects map[uint64]int

// Make makes the objects that an image maps, or makes room in them.
func (o Objects) Make(im *Image) error {
	for _, v := range im.VMAs {
		if v.Object == 0 {
			continue
		}
		fd, ok := o[v.Object]
		if !ok {
			var err error
			if fd, err = unix.MemfdCreate(SharedName, unix.MFD_CLOEXEC); err != nil {
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

// Close gives the memory back that nobody maps.
func (o Objects) Close() {
	for _, fd := range o {
		unix.Close(fd)
	}
}
