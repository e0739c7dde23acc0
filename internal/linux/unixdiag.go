package linux

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNoPeer says that a socket has no other end, or one that nobody has taken
// up yet.
var ErrNoPeer = errors.New("no peer")

// UnixPeer finds the other end of a connected Unix socket, both by the inode
// numbers that /proc/PID/fd shows (sock_diag(7)).
func UnixPeer(ino uint32) (uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("peer of a socket: %w", err)
	}
	defer unix.Close(fd)
	const (
		byFamily  = 20 // SOCK_DIAG_BY_FAMILY
		showPeer  = 4  // UDIAG_SHOW_PEER
		peerAttr  = 2  // UNIX_DIAG_PEER
		header    = unix.SizeofNlMsghdr
		request   = 24 // struct unix_diag_req
		answer    = 16 // struct unix_diag_msg
		anyCookie = ^uint32(0)
	)
	le := binary.LittleEndian
	b := make([]byte, header+request)
	le.PutUint32(b, uint32(len(b)))
	le.PutUint16(b[4:], byFamily)
	le.PutUint16(b[6:], unix.NLM_F_REQUEST)
	b[header] = unix.AF_UNIX
	le.PutUint32(b[header+4:], ^uint32(0)) // in any state
	le.PutUint32(b[header+8:], ino)
	le.PutUint32(b[header+12:], showPeer)
	le.PutUint32(b[header+16:], anyCookie)
	le.PutUint32(b[header+20:], anyCookie)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("peer of a socket: %w", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return 0, fmt.Errorf("peer of a socket: %w", err)
	}
	buf = buf[:n]
	if n < header+4 {
		return 0, errors.New("peer of a socket: short answer")
	}
	if le.Uint16(buf[4:]) == unix.NLMSG_ERROR {
		return 0, fmt.Errorf("peer of a socket: %w", unix.Errno(-int32(le.Uint32(buf[header:]))))
	}
	for attr := buf[min(header+answer, n):]; len(attr) >= 4; {
		size := int(le.Uint16(attr))
		if size < 4 || size > len(attr) {
			break
		}
		if le.Uint16(attr[2:]) == peerAttr && size >= 8 {
			if peer := le.Uint32(attr[4:]); peer != 0 {
				return peer, nil
			}
		}
		attr = attr[min((size+3)&^3, len(attr)):]
	}
	return 0, ErrNoPeer
}
