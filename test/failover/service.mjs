// The service of the failover tests: an HTTP server that is started, stopped and asked by commands.
// node service.mjs start|serve|stop|status DIRECTORY PORT
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { hostname } from 'node:os';

const [, own, verb, directory, port] = process.argv;
const pidFile = `${directory}/service.pid`;
const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
const alive = () => {
  try {
    process.kill(pid, 0);
    return pid > 0;
  } catch {
    return false;
  }
};

if (verb === 'start' && !alive()) {
  const child = spawn(process.execPath, [own, 'serve', directory, port], { detached: true, stdio: 'ignore' });
  writeFileSync(pidFile, String(child.pid));
  child.unref();
} else if (verb === 'stop') {
  if (alive()) process.kill(pid, 'SIGKILL');
  rmSync(pidFile, { force: true });
} else if (verb === 'status') {
  process.exit(alive() ? 0 : 1);
} else if (verb === 'serve') {
  createServer((_request, response) => response.end(`${directory} ${hostname()}\n`)).listen(Number(port), '0.0.0.0');
}
