package shadow

import (
	"encoding/binary"

	"homing/internal/protocol"
	"homing/syscallfwd"
)

// bulkReply turns the reply to a call that returned much data into one that
// announces them: they follow on the bulk connection, straight from the slot,
// where they delay nobody's calls. It reports whether it did.
func (s *Supervisor) bulkReply(th *thread, call *syscallfwd.Call, ret int64, r *syscallfwd.Reply) bool {
	if ret < protocol.BulkThreshold || len(call.Outs) != 1 || th.proc.site() == nil {
		return false
	}
	o := &call.Outs[0]
	if o.Kind != syscallfwd.OutResult || ret > int64(o.Len) {
		return false
	}
	r.Seq, r.Ret, r.Flags = call.Seq, ret, protocol.ReplyBulk
	r.Outs = binary.LittleEndian.AppendUint64(r.Outs[:0], th.proc.site().sess.NextBulkID())
	return true
}

// sendSlot sends the data that a bulk reply has announced.
func (s *Supervisor) sendSlot(at *site, th *thread, call *syscallfwd.Call, r *syscallfwd.Reply) error {
	o := &call.Outs[0]
	data := s.arena.data(th.slot)[o.Off : uint64(o.Off)+uint64(r.Ret)]
	return at.sess.BulkSend(binary.LittleEndian.Uint64(r.Outs), data)
}
