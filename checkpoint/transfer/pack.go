package transfer

import (
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codecs of a frame of pages.
const (
	codecNone = iota
	codecS2
	codecZstd
	codecs
)

// Compression says when pages are compressed.
type Compression int

// Auto compresses while the connection is slower than the compressor, as both
// are measured.
const (
	Auto Compression = iota
	Never
	Always

	alwaysZstd // for tests
)

// fastLink is a connection, in bytes a second, for which no codec is tried: none
// is faster.
const fastLink = 600e6

// packer decides how the frames of one source are compressed.
type packer struct {
	mode Compression
	rate float64 // limit of the connection, 0: none

	mu     sync.Mutex
	link   float64 // measured bytes a second, 0: not yet
	bytes  int     // of the running measurement
	busy   time.Duration
	frames int
	codec  [codecs]struct{ speed, ratio float64 } // measured; speed 0: not yet
	zstd   *zstd.Encoder
}

// wrote tells what it took to write n bytes. Time in which there was nothing to
// write does not count: then the connection is not what limits.
func (p *packer) wrote(n int, busy time.Duration) {
	if p.mode != Auto {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += n
	p.busy += busy
	if p.bytes < 8<<20 && p.busy < 50*time.Millisecond {
		return
	}
	rate := float64(p.bytes) / max(p.busy.Seconds(), 1e-6)
	if p.link == 0 {
		p.link = rate
	} else {
		p.link += (rate - p.link) / 2
	}
	p.bytes, p.busy = 0, 0
}

// pick chooses the codec of the next frame: that with which a byte takes the
// least time, compressor and connection working side by side. Now and then one
// is tried to see what it would do.
func (p *packer) pick() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	link := p.link
	if p.rate > 0 && (link == 0 || p.rate < link) {
		link = p.rate
	}
	switch {
	case p.mode == Never:
		return codecNone
	case p.mode == Always:
		return codecS2
	case p.mode == alwaysZstd:
		return codecZstd
	case link == 0 || link > fastLink:
		return codecNone
	}
	p.frames++
	last := codecS2
	if link < fastLink/4 {
		last = codecZstd
	}
	for c := codecS2; c <= last; c++ {
		if p.codec[c].speed == 0 || p.frames%64 == c {
			return c
		}
	}
	best, least := codecNone, 0.9/link
	for c := codecS2; c <= last; c++ {
		if t := max(1/p.codec[c].speed, p.codec[c].ratio/link); t < least {
			best, least = c, t
		}
	}
	return best
}

// pack compresses a frame of pages if that is worth it.
func (p *packer) pack(f *frame) {
	f.code = codecNone
	if f.n == 0 {
		return
	}
	c := p.pick()
	if c == codecNone {
		return
	}
	start := time.Now()
	if want := headRoom + max(s2.MaxEncodedLen(f.n), f.n+f.n/64+64); len(f.packed) < want {
		f.packed = make([]byte, want)
	}
	out := f.packed[headRoom:]
	if c == codecS2 {
		out = s2.Encode(out, f.data())
	} else {
		out = p.encoder().EncodeAll(f.data(), out[:0])
	}
	speed, ratio := float64(f.n)/max(time.Since(start).Seconds(), 1e-6), float64(len(out))/float64(f.n)
	p.mu.Lock()
	k := &p.codec[c]
	if k.speed == 0 {
		k.speed, k.ratio = speed, ratio
	} else {
		k.speed += (speed - k.speed) / 8
		k.ratio += (ratio - k.ratio) / 8
	}
	p.mu.Unlock()
	if ratio < 0.95 && len(out) <= len(f.packed)-headRoom && &out[0] == &f.packed[headRoom] {
		f.code, f.packedLen = byte(c), len(out)
	}
}

func (p *packer) encoder() *zstd.Encoder {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.zstd == nil {
		// Its options are constants that it accepts.
		p.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(frameBytes), zstd.WithLowerEncoderMem(true))
	}
	return p.zstd
}

// unpacker decompresses what a peer sends, into no more memory than asked for.
type unpacker struct {
	zstd *zstd.Decoder
}

func (u *unpacker) unpack(codec byte, src, dst []byte) error {
	switch codec {
	case codecS2:
		if n, err := s2.DecodedLen(src); err != nil || n != len(dst) {
			return malformed("%d compressed bytes do not give %d", len(src), len(dst))
		}
		if _, err := s2.Decode(dst, src); err != nil {
			return malformed("s2: %v", err)
		}
		return nil
	case codecZstd:
		if u.zstd == nil {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(frameBytes), zstd.WithDecoderMaxWindow(frameBytes))
			if err != nil {
				return err
			}
			u.zstd = d
		}
		out, err := u.zstd.DecodeAll(src, dst[:0:len(dst)])
		if err != nil {
			return malformed("zstd: %v", err)
		}
		if len(out) != len(dst) || len(dst) > 0 && &out[0] != &dst[0] {
			return malformed("%d compressed bytes give %d, not %d", len(src), len(out), len(dst))
		}
		return nil
	}
	return malformed("codec %d", codec)
}
