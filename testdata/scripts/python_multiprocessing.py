"""multiprocessing: pool, queue, pipe, lock, shared value, by fork and by spawn."""
import multiprocessing as mp, os
def square(x): return x * x
def add(v, l):
    for _ in range(200):
        with l: v.value += 1
def talk(c): c.send(c.recv() + ['child']); c.close()
if __name__ == '__main__':
    for how in 'fork', 'spawn':
        ctx = mp.get_context(how)
        with ctx.Pool(3) as p:
            print(p.map(square, range(50)))
        v, l = ctx.Value('i', 0), ctx.Lock()
        ps = [ctx.Process(target=add, args=(v, l)) for _ in range(3)]
        [p.start() for p in ps]; [p.join() for p in ps]
        print(v.value, [p.exitcode for p in ps])
        a, b = ctx.Pipe(); p = ctx.Process(target=talk, args=(b,)); p.start(); a.send(['parent']); print(a.recv()); p.join()
        p = ctx.Process(target=os.abort); p.start(); p.join(); print(p.exitcode)
