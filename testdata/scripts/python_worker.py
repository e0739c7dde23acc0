# A program of threads and processes that checks itself while it is moved, for $VICTIM_MS.
import hashlib, multiprocessing, os, queue, random, select, signal, socket, struct, subprocess, sys, threading, time

end = time.time() + int(os.environ.get("VICTIM_MS", "300")) / 1000
faults = []


def going():
    return time.time() < end


def check(ok, *what):
    if not ok:
        faults.append(what)


def digest(n):
    h = hashlib.sha256()
    for i in range(n):
        h.update(struct.pack("<Q", i * 2654435761 % 2**64))
    return h.hexdigest()


def computes():
    want = digest(3000)
    while going():
        check(digest(3000) == want, "digest")


def sorts():
    r = random.Random(7)
    while going():
        seed = r.getrandbits(60)
        a = random.Random(seed)
        v = [a.random() for _ in range(2000)]
        w = sorted(v)
        check(all(x <= y for x, y in zip(w, w[1:])) and sum(v) - sum(w) < 1e-6, "sort")
        b = random.Random(seed)
        check(v == [b.random() for _ in range(2000)], "memory")


def queues():
    q = queue.Queue(5)

    def puts():
        n = 0
        while going():
            q.put(n)
            n += 1
        q.put(None)

    t = threading.Thread(target=puts)
    t.start()
    n = 0
    while (v := q.get()) is not None:
        check(v == n, "queue", v, n)
        n += 1
    t.join()


def sleeps():
    while going():
        t = time.monotonic()
        time.sleep(0.08)
        check(0.08 <= time.monotonic() - t < 10, "sleep", time.monotonic() - t)
        r, w = os.pipe()
        t = time.monotonic()
        check(select.select([r], [], [], 0.05) == ([], [], []), "select")
        check(time.monotonic() - t >= 0.0499, "select early")
        os.close(r), os.close(w)


def sockets():
    a, b = socket.socketpair()

    def sends():
        n = 0
        while going():
            data = bytes((n + i) * 7 >> 3 & 255 for i in range(n % 997 + 1))
            a.sendall(data)
            n += len(data)
        a.shutdown(socket.SHUT_WR)

    t = threading.Thread(target=sends)
    t.start()
    n = 0
    while data := b.recv(701):
        check(all(v == (n + i) * 7 >> 3 & 255 for i, v in enumerate(data)), "socket", n)
        n += len(data)
    t.join()


def runs():
    while going():
        p = subprocess.run(["/bin/sh", "-c", "read x; echo \"$x\" | tr a-z A-Z; exit 4"], input=b"hello\n", capture_output=True)
        check((p.stdout, p.returncode) == (b"HELLO\n", 4), "child", p)


def worker(conn, n):
    while (v := conn.recv()) is not None:
        conn.send((n, v, digest(v % 50)))


def processes():
    fork = multiprocessing.get_context("fork")
    kids = []
    for n in range(2):
        mine, theirs = fork.Pipe()
        p = fork.Process(target=worker, args=(theirs, n))
        p.start()
        theirs.close()
        kids.append((mine, p))
    v = 0
    while going():
        v += 1
        for n, (c, _) in enumerate(kids):
            c.send(v)
        for n, (c, _) in enumerate(kids):
            check(c.recv() == (n, v, digest(v % 50)), "process", n, v)
    for c, p in kids:
        c.send(None)
        p.join()
        check(p.exitcode == 0, "exit", p.exitcode)


hits = 0


def hit(sig, frame):
    global hits
    hits += 1


signal.signal(signal.SIGALRM, hit)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
threads = [threading.Thread(target=f) for f in (computes, sorts, queues, sleeps, sockets, runs)]
# Children are forked before there are threads.
parent = os.getpid()
pid = os.fork()
if pid == 0:
    faults.clear()
    processes()
    os._exit(1 if faults else 0)
for t in threads:
    t.start()
for t in threads:
    t.join()
signal.setitimer(signal.ITIMER_REAL, 0)
check(os.waitpid(pid, 0)[1] == 0, "processes")
check(os.getpid() == parent and threading.active_count() == 1, "left over")
print("all held" if not faults else faults[:5])
sys.exit(len(faults) > 0)
