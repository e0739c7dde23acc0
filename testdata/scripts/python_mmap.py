"""mmap of files from Python: shared and written, copied, read-only."""
import mmap
open('f', 'wb').write(b'a' * 10000)
with open('f', 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0)
    m[5:10] = b'HELLO'; m.flush(); print(m.find(b'HELLO'), open('f', 'rb').read()[4:11]); m.resize(20000); print(len(m)); m.close()
    c = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY); c[0:1] = b'Z'; print(open('f', 'rb').read(1), c[0:1])
    r = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ); print(r[5:10])
an = mmap.mmap(-1, 4096); an[0] = 7; print(an[0])
