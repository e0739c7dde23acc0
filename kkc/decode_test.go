package kkc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func testToken() Token {
	return Token{Name: "n1", Addr: "[::1]:7040", Fingerprint: strings.Repeat("0a", 32), Secret: NewSecret()}
}

func TestToken(t *testing.T) {
	want := testToken()
	s := want.String()
	if got, err := ParseToken("  " + s + "\n"); err != nil || got != want {
		t.Fatal(got, err)
	}
	for name, bad := range map[string]string{
		"empty":    "",
		"prefix":   strings.TrimPrefix(s, tokenPrefix),
		"cut":      s[:len(s)-3],
		"changed":  s[:20] + "A" + s[21:],
		"alphabet": tokenPrefix + "***",
		"short":    tokenPrefix + "AAAA",
		"long":     tokenPrefix + strings.Repeat("A", maxToken+1),
		"address":  Token{Addr: "nowhere", Fingerprint: want.Fingerprint}.String(),
		"key":      Token{Addr: want.Addr, Fingerprint: "0A"}.String(),
	} {
		if _, err := ParseToken(bad); err == nil && bad != s {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(testToken().String())
	f.Add(tokenPrefix)
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			return
		}
		if again, err := ParseToken(tok.String()); err != nil || again != tok {
			t.Fatal(again, err)
		}
	})
}

func TestOpening(t *testing.T) {
	want := opening{Kind: kindSession, Hello: Hello{Protocol: 1, Role: RoleHome, CPU: []string{"avx"}, Facts: map[string]string{"a": "b"}}}
	var b bytes.Buffer
	if err := writeOpening(&b, want); err != nil {
		t.Fatal(err)
	}
	b.WriteString("next")
	var got opening
	if err := readOpening(iotest.OneByteReader(&b), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatal(got, err)
	}
	if b.String() != "next" {
		t.Fatalf("read too far: %q left", b.String())
	}
	if writeOpening(io.Discard, answer{Refused: strings.Repeat("x", maxOpening)}) == nil {
		t.Fatal("sent too much")
	}
}

func FuzzOpening(f *testing.F) {
	var b bytes.Buffer
	writeOpening(&b, opening{Kind: kindBulk, Ticket: newTicket()})
	f.Add(b.Bytes())
	f.Add([]byte(openingMagic + "\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var o opening
		if readOpening(bytes.NewReader(p), &o) == nil && len(p) > len(openingMagic)+4+maxOpening {
			t.Fatal("read more than the limit")
		}
		var a answer
		readOpening(bytes.NewReader(p), &a)
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                          "plain",
		"two\nlines\x1b[31m":             "two lines [31m",
		strings.Repeat("é", 10000):       strings.Repeat("é", maxReason/2),
		"a" + strings.Repeat("é", 10000): "a" + strings.Repeat("é", maxReason/2-1),
	} {
		if got := clean(in); got != want || !utf8.ValidString(got) {
			t.Errorf("%.40q: %.40q", in, got)
		}
	}
}

func TestEnvelope(t *testing.T) {
	want := envelope{Seq: 7, Ack: 3, Type: "t", Want: true, Body: []byte(`{"a":1}`)}
	b, err := encodeEnvelope(&want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readEnvelope(bytes.NewReader(b), 7)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	var bad *protocolError
	if _, err := readEnvelope(bytes.NewReader(b), 8); !errors.As(err, &bad) {
		t.Fatal(err)
	}
}

func FuzzEnvelope(f *testing.F) {
	b, _ := encodeEnvelope(&envelope{Seq: 1, Type: "t", Body: []byte("null")})
	f.Add(b)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{3, 0, 0, 0, '{'}) // announces 48 MiB
	f.Fuzz(func(t *testing.T, p []byte) {
		env, err := readEnvelope(bytes.NewReader(p), 1)
		if err == nil && env.Seq != 1 {
			t.Fatal(env.Seq)
		}
	})
}

func frames(bodies ...string) []byte {
	var b []byte
	for i, s := range bodies {
		b = append(b, make([]byte, laneHeaderSize)...)
		laneHeader{Len: uint32(len(s)), Seq: uint64(i + 1)}.put(b[len(b)-laneHeaderSize:])
		b = append(b, s...)
	}
	return b
}

func TestFrameReader(t *testing.T) {
	var sent atomic.Uint64
	bodies := []string{"", "a", strings.Repeat("b", 70000), "c", strings.Repeat("d", 3<<20), "e"}
	stream := frames(bodies...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole":    func(r io.Reader) io.Reader { return r },
		"half":     iotest.HalfReader,
		"data+err": iotest.DataErrReader,
	} {
		r := frameReader{src: wrap(bytes.NewReader(stream)), buf: make([]byte, laneBuffer)}
		for i, want := range bodies {
			_, got, err := r.next(uint64(i+1), &sent)
			if err != nil || string(got) != want {
				t.Fatalf("%s: frame %d: %d bytes, %v", name, i, len(got), err)
			}
		}
		if _, _, err := r.next(7, &sent); err != io.EOF {
			t.Fatal(err)
		}
		if len(r.buf) != laneBuffer {
			t.Errorf("%s: a buffer of %d bytes was kept", name, len(r.buf))
		}
	}
}

func TestLaneHeaderLimits(t *testing.T) {
	good := laneHeader{Len: maxLaneFrame, Seq: 5, Ack: 2}
	for name, c := range map[string]struct {
		h  laneHeader
		ok bool
	}{
		"good":     {good, true},
		"long":     {laneHeader{Len: maxLaneFrame + 1, Seq: 5}, false},
		"gap":      {laneHeader{Seq: 6}, false},
		"repeated": {laneHeader{Seq: 4}, false},
		"ack":      {laneHeader{Seq: 5, Ack: 3}, false},
		"kind":     {laneHeader{Seq: 5, Kind: 2}, false},
		"end":      {laneHeader{Seq: 5, Kind: frameEnd}, true},
		"long end": {laneHeader{Seq: 5, Kind: frameEnd, Len: 1}, false},
	} {
		var b [laneHeaderSize]byte
		c.h.put(b[:])
		got, err := parseLaneHeader(b[:], 5, 2)
		if (err == nil) != c.ok || err == nil && got != c.h {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A length alone must not cost memory.
func TestAnnouncedLength(t *testing.T) {
	var b [laneHeaderSize]byte
	laneHeader{Len: maxLaneFrame, Seq: 1}.put(b[:])
	r := frameReader{src: bytes.NewReader(b[:]), buf: make([]byte, laneBuffer)}
	if _, _, err := r.next(1, new(atomic.Uint64)); err == nil || len(r.buf) > 1<<20 {
		t.Fatal(err, len(r.buf))
	}
}

func FuzzFrameReader(f *testing.F) {
	f.Add(frames("one", "", strings.Repeat("three", 40)))
	f.Add(frames("one")[:30])
	end := frames("x", "")
	end[len(end)-laneHeaderSize+4] = frameEnd
	f.Add(end)
	f.Fuzz(func(t *testing.T, p []byte) {
		var sent atomic.Uint64
		r := frameReader{src: bytes.NewReader(p), buf: make([]byte, 64)}
		total := 0
		for seq := uint64(1); ; seq++ {
			h, body, err := r.next(seq, &sent)
			if err != nil || h.Kind == frameEnd {
				break
			}
			if want := p[total+laneHeaderSize:][:h.Len]; !bytes.Equal(body, want) {
				t.Fatalf("frame %d differs", seq)
			}
			total += laneHeaderSize + len(body)
		}
	})
}

func FuzzBulkFrames(f *testing.F) {
	frame := func(seq uint64, id uint64, body string) []byte {
		b := make([]byte, bulkHeaderSize)
		bulkHeader{ID: id, Seq: seq, Len: uint32(len(body))}.put(b)
		return append(b, body...)
	}
	f.Add(append(frame(1, 2, "abc"), frame(2, 4, strings.Repeat("x", 300))...))
	f.Add(binary.LittleEndian.AppendUint64(nil, 1))
	f.Fuzz(func(t *testing.T, p []byte) {
		s := &Session{limits: Limits{BulkParked: 1 << 20, BulkStall: 1}.withDefaults(), done: make(chan struct{})}
		b := newBulk(s)
		b.dead.add(6)
		if err := b.readFrames(bytes.NewReader(p)); err == nil {
			t.Fatal("no end")
		}
		size := 0
		for _, q := range b.parked {
			for _, c := range q {
				size += len(c.buf) - c.off
			}
		}
		if size != b.size || size > len(p) {
			t.Fatalf("%d bytes parked, counted %d, of %d", size, b.size, len(p))
		}
	})
}
