"""Threads, subprocesses, asyncio, sqlite3, sockets, signals, files, compression, hashing."""
import asyncio, hashlib, json, os, queue, random, select, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time, zlib

q = queue.Queue()
def work(n):
    q.put((n, sum(i * i for i in range(n * 1000))))
ts = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sorted(q.get() for _ in range(8)))

r = subprocess.run(['sh', '-c', 'cat; echo err >&2; exit 3'], input=b'data', capture_output=True)
print(r)
ps = [subprocess.Popen(['sh', '-c', f'sleep 0.0{n}; echo {n}'], stdout=subprocess.PIPE) for n in range(5)]
print([p.communicate()[0] for p in ps])
try:
    subprocess.run(['sleep', '10'], timeout=0.1)
except subprocess.TimeoutExpired as e:
    print('timeout', e.cmd)
try:
    subprocess.run(['/nonexistent'])
except FileNotFoundError as e:
    print(e)
print(subprocess.run(['sh', '-c', 'kill -SEGV $$'], preexec_fn=lambda: None).returncode)

async def main():
    async def tick(n):
        await asyncio.sleep(0.01 * n)
        return n
    print(await asyncio.gather(*(tick(n) for n in range(5))))
    async def echo(r, w):
        w.write((await r.readline()).upper()); await w.drain(); w.close()
    s = await asyncio.start_server(echo, '127.0.0.1', 0)
    port = s.sockets[0].getsockname()[1]
    async def ask(i):
        r, w = await asyncio.open_connection('127.0.0.1', port)
        w.write(f'client {i}\n'.encode()); l = await r.readline(); w.close(); return l
    print(await asyncio.gather(*(ask(i) for i in range(10))))
    p = await asyncio.create_subprocess_exec('sh', '-c', 'read x; echo got $x; exit 2', stdin=-1, stdout=-1)
    out, _ = await p.communicate(b'hi\n'); print(out, p.returncode)
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, done.set_result, 'signal in loop')
    os.kill(os.getpid(), signal.SIGUSR1); print(await done)
    print(await loop.run_in_executor(None, lambda: 'executor'))
asyncio.run(main())

db = sqlite3.connect('db.sqlite')
db.execute('create table t(a integer primary key, b text)')
with db:
    db.executemany('insert into t(b) values (?)', ((f'row {i}',) for i in range(5000)))
print(db.execute('select count(*), max(a), min(b), sum(length(b)) from t').fetchone())
db2 = sqlite3.connect('db.sqlite', timeout=0.05)
db.execute('begin exclusive')
try:
    db2.execute('select 1 from t').fetchone()
except sqlite3.OperationalError as e:
    print(e)
db.rollback(); db.close(); db2.close(); os.remove('db.sqlite')

a, b = socket.socketpair()
a.sendall(b'x' * 100000) if False else threading.Thread(target=lambda: (a.sendall(b'x' * 1000000), a.shutdown(1))).start()
n = 0
while d := b.recv(65536): n += len(d)
print('received', n)

got = []
signal.signal(signal.SIGALRM, lambda s, f: got.append(s))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
while len(got) < 3: signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0); print('alarms')
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start(); time.sleep(5)
except KeyboardInterrupt:
    print('interrupted')
rfd, wfd = os.pipe(); os.set_blocking(wfd, False); signal.set_wakeup_fd(wfd)
signal.signal(signal.SIGUSR2, lambda *a: None); os.kill(os.getpid(), signal.SIGUSR2)
print(select.select([rfd], [], [], 1)[0] == [rfd], os.read(rfd, 10) == bytes([signal.SIGUSR2]))
pid = os.fork()
if pid == 0:
    os._exit(42)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(hashlib.sha256(b'x' * 10000000).hexdigest(), zlib.crc32(zlib.compress(bytes(range(256)) * 10000)))
random.seed(5); print(random.random(), json.dumps({'a': [1, 2.5, None]}), sys.version_info[0], os.path.basename(sys.executable)[:6])
with tempfile.TemporaryDirectory() as d:
    for i in range(100): open(f'{d}/{i}', 'w').write(str(i))
    print(sum(int(open(e.path).read()) for e in os.scandir(d)))
print(os.environ['LANG'], os.getcwd() == os.path.dirname(os.path.abspath(__file__)), os.umask(0o22))
print(os.get_terminal_size.__name__, os.isatty(0), os.cpu_count() >= 1, os.sched_getaffinity(0) == set(range(os.cpu_count())))
