package kkc

import "encoding/binary"

// A lane's frame: header, then Len bytes. Little-endian.
//
//	0  u32 Len
//	4  u8  Kind, u8[3] zero
//	8  u64 Seq: 1 for a lane's first frame, then one more each
//	16 u64 Ack: Seq of the last frame received from the other side
const laneHeaderSize = 24

const (
	frameData = 0
	frameEnd  = 1 // no frame follows: the lane was closed on purpose
)

type laneHeader struct {
	Len  uint32
	Kind uint8
	Seq  uint64
	Ack  uint64
}

func (h laneHeader) put(b []byte) {
	_ = b[laneHeaderSize-1]
	binary.LittleEndian.PutUint32(b, h.Len)
	binary.LittleEndian.PutUint32(b[4:], uint32(h.Kind))
	binary.LittleEndian.PutUint64(b[8:], h.Seq)
	binary.LittleEndian.PutUint64(b[16:], h.Ack)
}

// parseLaneHeader reads the header at the front of b, of which there must be
// laneHeaderSize bytes. want is the sequence number that is due, sent that of
// the last frame which went the other way.
func parseLaneHeader(b []byte, want, sent uint64) (laneHeader, error) {
	_ = b[laneHeaderSize-1]
	h := laneHeader{
		Len: binary.LittleEndian.Uint32(b),
		Seq: binary.LittleEndian.Uint64(b[8:]),
		Ack: binary.LittleEndian.Uint64(b[16:]),
	}
	kind := binary.LittleEndian.Uint32(b[4:])
	h.Kind = uint8(kind)
	switch {
	case h.Len > maxLaneFrame:
		return h, badPeer("frame of %d bytes, limit %d", h.Len, maxLaneFrame)
	case kind > frameEnd, kind == frameEnd && h.Len != 0:
		return h, badPeer("frame of unknown kind %#x", kind)
	case h.Seq != want:
		return h, badPeer("frame number %d where %d is due", h.Seq, want)
	case h.Ack > sent:
		return h, badPeer("frame acknowledges %d, of %d sent", h.Ack, sent)
	}
	return h, nil
}

// A bulk frame: header, then Len bytes. Little-endian.
//
//	0  u64 ID of the transfer
//	8  u64 Seq: counts the connection's frames from 1
//	16 u32 Len
//	20 u32 Flags: zero
const bulkHeaderSize = 24

type bulkHeader struct {
	ID  uint64
	Seq uint64
	Len uint32
}

func (h bulkHeader) put(b []byte) {
	_ = b[bulkHeaderSize-1]
	binary.LittleEndian.PutUint64(b, h.ID)
	binary.LittleEndian.PutUint64(b[8:], h.Seq)
	binary.LittleEndian.PutUint32(b[16:], h.Len)
	binary.LittleEndian.PutUint32(b[20:], 0)
}

func parseBulkHeader(b []byte, want uint64) (bulkHeader, error) {
	_ = b[bulkHeaderSize-1]
	h := bulkHeader{
		ID:  binary.LittleEndian.Uint64(b),
		Seq: binary.LittleEndian.Uint64(b[8:]),
		Len: binary.LittleEndian.Uint32(b[16:]),
	}
	flags := binary.LittleEndian.Uint32(b[20:])
	switch {
	case h.Len > maxBulkFrame:
		return h, badPeer("bulk frame of %d bytes, limit %d", h.Len, maxBulkFrame)
	case flags != 0:
		return h, badPeer("bulk frame with unknown flags %#x", flags)
	case h.Seq != want:
		return h, badPeer("bulk frame number %d where %d is due", h.Seq, want)
	}
	return h, nil
}
