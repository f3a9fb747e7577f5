import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { removeScratchDirectories, scratchDirectory } from '../../../testing/scratch-directory.ts';
import { hostFiles } from '../../blueprint/host-files.ts';
import { socketsOfServers } from './discover.ts';

describe('the sockets of MariaDB servers', () => {
  afterEach(removeScratchDirectories);

  it('are found beside descriptors and processes that go meanwhile', () => {
    const root = scratchDirectory();
    const proc = join(root, 'proc');
    for (const [pid, name] of [
      ['7', 'mariadbd'],
      ['8', 'sshd'],
    ] as const) {
      mkdirSync(join(proc, pid, 'fd'), { recursive: true });
      writeFileSync(join(proc, pid, 'comm'), `${name}\n`);
      symlinkSync(`socket:[${pid}7]`, join(proc, pid, 'fd', '20'));
      // What can't be read as a link is as good as gone.
      for (let fd = 1; fd < 40; fd++) if (fd !== 20) writeFileSync(join(proc, pid, 'fd', String(fd)), '');
    }
    mkdirSync(join(proc, '9'));
    expect([...socketsOfServers(hostFiles(root))]).to.deep.equal(['77']);
  });
});
