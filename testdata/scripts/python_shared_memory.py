"""multiprocessing.shared_memory and what is built on it: blocks found by their names, lists, a manager, arrays, a barrier, an event."""
import multiprocessing as mp, os
from multiprocessing import shared_memory
from multiprocessing.managers import SharedMemoryManager

def fill(name, start, lock, total):
    block = shared_memory.SharedMemory(name=name)
    for i in range(start, len(block.buf), 4):
        block.buf[i] = i % 251
        with lock:
            total.value += 1
    block.close()

def look(name, barrier, event, out):
    block = shared_memory.SharedMemory(name=name)
    barrier.wait()
    event.wait()
    out.put(bytes(block.buf[:5]))
    block.close()

def double(name):
    values = shared_memory.ShareableList(name=name)
    for i, v in enumerate(values):
        values[i] = v * 2
    values.shm.close()

if __name__ == '__main__':
    for how in 'fork', 'spawn':
        ctx = mp.get_context(how)
        block = shared_memory.SharedMemory(create=True, size=4096)
        lock, total = ctx.Lock(), ctx.Value('i', 0)
        kids = [ctx.Process(target=fill, args=(block.name, i, lock, total)) for i in range(4)]
        [k.start() for k in kids]
        [k.join() for k in kids]
        print(how, total.value == len(block.buf), all(b == i % 251 for i, b in enumerate(block.buf)), [k.exitcode for k in kids])
        barrier, event, out = ctx.Barrier(3), ctx.Event(), ctx.Queue()
        kids = [ctx.Process(target=look, args=(block.name, barrier, event, out)) for i in range(2)]
        [k.start() for k in kids]
        barrier.wait()
        block.buf[:5] = b'there'
        event.set()
        print(out.get(), out.get())
        [k.join() for k in kids]
        with open('/dev/shm/' + block.name, 'r+b') as f:
            f.write(b'where')
            f.flush()
            print(bytes(block.buf[:5]))
            block.buf[0] = ord('W')
            f.seek(0)
            print(f.read(5), os.fstat(f.fileno()).st_size)
        block.close()
        block.unlink()
        try:
            shared_memory.SharedMemory(name=block.name)
        except FileNotFoundError:
            print('gone')
        values = ctx.Array('d', [1.5, 2.5])
        with values.get_lock():
            values[0] += 1
        print(list(values))
    with SharedMemoryManager() as manager:
        values = manager.ShareableList([1, 2.5, 'ab'])
        kid = mp.Process(target=double, args=(values.shm.name,))
        kid.start()
        kid.join()
        print(list(values))
