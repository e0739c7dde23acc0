package guest

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/syscallfwd"
)

// bulkPiece is how much of a transfer is written to the guest while the next
// piece is being received.
const bulkPiece = 256 << 10

var errBulkReply = errors.New("malformed bulk reply")

// receiveBulk takes the data of a reply that announces them from the bulk
// connection and puts them where the call wants them; it returns the result.
func (p *pod) receiveBulk(th *thread, ln *lane, r *syscallfwd.Reply) (int64, error) {
	call := th.call
	if len(r.Outs) != 8 || r.Ret < protocol.BulkThreshold || len(call.Outs) != 1 || r.Ret > int64(call.Outs[0].Len) {
		return 0, errBulkReply
	}
	id, n := binary.LittleEndian.Uint64(r.Outs), int(r.Ret)
	addr, plain := call.DataOut()
	if !plain {
		outs := make([]byte, 4+n)
		binary.LittleEndian.PutUint32(outs, uint32(n))
		if err := p.sess.BulkRecv(p.sess.Context(), id, outs[4:]); err != nil {
			return 0, err
		}
		return call.Scatter(memory(th.here), &syscallfwd.Reply{Seq: r.Seq, Ret: r.Ret, Outs: outs}), nil
	}
	if cap(ln.buf) < n {
		ln.buf = make([]byte, maxImage)
	}
	buf := ln.buf[:n]
	received := make(chan int, n/bulkPiece+1)
	written := make(chan int64, 1)
	go func() { written <- writePieces(th.here, addr, buf, received) }()
	var err error
	for done := 0; done < n && err == nil; {
		end := min(done+bulkPiece, n)
		if err = p.sess.BulkRecv(p.sess.Context(), id, buf[done:end]); err == nil {
			done = end
			received <- done
		}
	}
	close(received)
	ret := <-written
	return ret, err
}

// writePieces writes what has been received so far to the guest's memory and
// returns the result of the call: fewer bytes if the memory ends early, EFAULT
// if there is none.
func writePieces(pid int, addr uint64, buf []byte, received <-chan int) int64 {
	done, fault := 0, false
	for end := range received {
		if fault {
			continue
		}
		n, err := linux.WriteMemory(pid, addr+uint64(done), buf[done:end])
		done += n
		fault = err != nil
	}
	if done == 0 {
		return -int64(unix.EFAULT)
	}
	return int64(done)
}
