// node: timers, promises, files, child processes, worker threads, http, streams, signals, crypto.
const fs = require('fs'), cp = require('child_process'), http = require('http'), zlib = require('zlib'), crypto = require('crypto');
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (!isMainThread) { let s = 0; for (let i = 0; i < 5e6; i++) s += i % 7; parentPort.postMessage(s); }
else (async () => {
  console.log(cp.execSync('echo sync; exit 0').toString().trim());
  const c = cp.spawn('sh', ['-c', 'cat; exit 3']); c.stdin.end('to child'); let o = ''; c.stdout.on('data', d => o += d);
  console.log(await new Promise(r => c.on('close', (code, sig) => r([o, code, sig]))));
  const k = cp.spawn('sleep', ['10']); setTimeout(() => k.kill(), 50); console.log(await new Promise(r => k.on('exit', (c, s) => r([c, s]))));
  console.log(await Promise.all([1, 2, 3].map(() => new Promise(r => new Worker(__filename).on('message', r)))));
  await fs.promises.writeFile('out', 'x'.repeat(100000)); console.log((await fs.promises.stat('out')).size); fs.unlinkSync('out');
  const s = http.createServer((q, r) => { let b = ''; q.on('data', d => b += d); q.on('end', () => r.end(q.url + ' ' + b.length)); });
  await new Promise(r => s.listen(0, '127.0.0.1', r));
  const ask = i => new Promise(r => { const q = http.request({ port: s.address().port, host: '127.0.0.1', path: '/' + i, method: 'POST' }, a => { let b = ''; a.on('data', d => b += d); a.on('end', () => r(b)); }); q.end('y'.repeat(i * 1000)); });
  console.log(await Promise.all([1, 2, 3, 4, 5].map(ask))); s.close();
  console.log(zlib.gunzipSync(zlib.gzipSync(Buffer.alloc(1e6, 'abc'))).length, crypto.createHash('sha256').update('x').digest('hex'));
  process.on('SIGUSR2', () => { console.log('signal'); process.exitCode = 7; }); process.kill(process.pid, 'SIGUSR2');
  await new Promise(r => setTimeout(r, 50)); console.log(process.argv.length, process.title.length > 0, require('os').cpus().length > 0);
  new Promise(r => setImmediate(r)).then(() => console.error('to stderr'));
})();
