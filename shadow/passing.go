package shadow

import (
	"encoding/binary"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/syscallfwd"
)

// Descriptors that go over a socket (SCM_RIGHTS) may leave the job, and nobody
// will tell. So it is looked at where they go: a file that could be away must
// not get into the hands of a process that is not.

// passesOut tells whether a sendmsg or sendmmsg hands a file, which is or could
// be away, to a process that is at home or not of the job. Such a file is not
// away again; the call is one for home.
func (s *Supervisor) passesOut(th *thread, call *syscallfwd.Call) bool {
	out := false
	for _, fd := range passedDescriptors(call) {
		var st unix.Stat_t
		path := "/proc/" + strconv.Itoa(th.tid) + "/fd/"
		if unix.Stat(path+strconv.Itoa(fd), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		id := identity(&st)
		if s.awayFile(id) == nil && st.Nlink > 0 {
			continue // has a name: opened by that, it would be noticed
		}
		if s.receiverAway(th, int(int32(call.Args[0]))) {
			continue
		}
		s.shared.mu.Lock()
		if s.shared.known == nil || len(s.shared.known) >= maxKnown {
			s.shared.known = map[fileID]bool{}
		}
		s.shared.known[id] = true
		s.shared.mu.Unlock()
		out = out || s.awayFile(id) != nil
	}
	return out
}

// maxKnown bounds the files remembered that others got hold of.
const maxKnown = 10000

// receiverAway tells whether only processes that are away hold the other end of
// a socket.
func (s *Supervisor) receiverAway(th *thread, fd int) bool {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(th.tid)+"/fd/"+strconv.Itoa(fd), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false
	}
	peer, err := linux.UnixPeer(uint32(st.Ino))
	if err != nil {
		return false
	}
	names, err := readNames("/proc")
	if err != nil {
		return false
	}
	held := false
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() || !holdsSocket(pid, uint64(peer)) {
			continue
		}
		if !s.isAway(pid) {
			return false
		}
		held = true
	}
	return held
}

func holdsSocket(pid int, ino uint64) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	names, err := readNames(dir)
	if err != nil {
		return false // it has ended, or is another user's
	}
	var st unix.Stat_t
	for _, name := range names {
		if unix.Stat(dir+"/"+name, &st) == nil && st.Ino == ino && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return true
		}
	}
	return false
}

// passedDescriptors lists the descriptors that a call's messages carry.
func passedDescriptors(call *syscallfwd.Call) []int {
	const msghdrSize, mmsghdrSize = 56, 64
	n, size := uint64(1), uint64(msghdrSize)
	if call.NR == unix.SYS_SENDMMSG {
		n, size = uint64(uint32(call.Args[2])), mmsghdrSize
	}
	if call.ArgReloc&2 == 0 {
		return nil
	}
	var fds []int
	data, at := call.Data, call.Args[1]
	for ; n > 0 && at <= uint64(len(data)) && uint64(len(data))-at >= msghdrSize; n, at = n-1, at+size {
		h := data[at:]
		control, length := binary.LittleEndian.Uint64(h[32:]), binary.LittleEndian.Uint64(h[40:])
		if control == 0 || control > uint64(len(data)) || length > uint64(len(data))-control {
			continue
		}
		msgs, err := syscall.ParseSocketControlMessage(data[control : control+length])
		if err != nil {
			continue // the kernel will say so
		}
		for i := range msgs {
			if more, err := syscall.ParseUnixRights(&msgs[i]); err == nil {
				fds = append(fds, more...)
			}
		}
	}
	return fds
}
