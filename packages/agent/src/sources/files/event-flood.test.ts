import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { eventually } from '../../testing/eventually.ts';
import type { WatchMessage } from './tree-watcher.ts';

describe('tree watcher in a flood', function () {
  this.timeout(60_000);
  let root: string;
  let child: ChildProcess;
  let messages: WatchMessage[];

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'holdfast-flood-'));
    messages = [];
    child = fork(siblingModule(import.meta.url, './testing/watching-process'), [root]);
    child.on('message', (message) => messages.push(message as WatchMessage));
    await eventually(() => messages.length > 0);
  });
  afterEach(async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    rmSync(root, { recursive: true });
  });

  it('has everything looked at when the kernel dropped events, which nobody is told', async () => {
    const queued = Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'utf8'));
    const fds = ['a', 'b'].map((name) => openSync(join(root, name), 'w'));
    child.kill('SIGSTOP');
    // By turns: an event like the one before it is merged with it.
    for (let i = 0; i < queued; i++) for (const fd of fds) writeSync(fd, 'x', 0);
    for (const fd of fds) closeSync(fd);
    writeFileSync(join(root, 'lost'), 'x');
    child.kill('SIGCONT');
    await eventually(() =>
      messages.some(({ kind, ...rest }) => kind === 'changes' && 'paths' in rest && rest.paths === 'everything'),
    );
  });
});
