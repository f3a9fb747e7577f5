// Somebody who swaps a target's directories for links, and its files for hard links to foreign ones, all the while a restore
// writes into it (threat 37).

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { encodeStat, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from '@holdfast/shared/format/manifest/stat-record';
import { openDescriptors, removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { RestoreTarget, type EntryMetadata } from './restore-target.ts';

/** Runs in a process of its own: swaps 'd' and 'd/e' for links, plants links at the names that are about to be written. */
const attacker = `
  const fs = require('node:fs');
  const [target, outside] = process.argv.slice(1);
  const quietly = (act) => { try { act(); } catch {} };
  let round = 0;
  const attack = () => {
    for (let i = 0; i < 200; i++) {
      round++;
      for (const path of [target + '/d/e', target + '/d']) {
        quietly(() => fs.renameSync(path, path + '.moved'));
        quietly(() => fs.symlinkSync(outside, path));
        quietly(() => fs.unlinkSync(path));
        quietly(() => fs.renameSync(path + '.moved', path));
      }
      for (const name of fs.readdirSync(target)) {
        if (!/^(link|fifo|file)|holdfast/.test(name) || Math.random() < 0.9) continue;
        quietly(() => fs.unlinkSync(target + '/' + name));
        quietly(() => fs.linkSync(outside + '/precious', target + '/' + name));
      }
    }
    process.send?.(round);
    setImmediate(attack);
  };
  attack();
`;

function metadata(mode: number, size = 0): EntryMetadata {
  const stat = encodeStat({
    mode,
    uid: process.geteuid!() === 0 ? 4321 : process.geteuid!(),
    gid: process.getegid!(),
    nlink: 1,
    size,
    ino: 1n,
    mtimeSeconds: 1,
    mtimeNs: 1,
    ctimeSeconds: 0,
    ctimeNs: 0,
    rdevMajor: 0,
    rdevMinor: 0,
  });
  return { stat, user: '', group: '', xattrs: [{ name: 'user.x', value: Buffer.from('x') }], inodeFlags: 0 };
}

/** Content, owner, mode, mtime and names of what must not change. The link count may: the attacker makes links. */
function outsideNow(outside: string): string {
  return readdirSync(outside)
    .toSorted()
    .map((name) => {
      const { mode, uid, gid, size, mtimeNs } = lstatSync(`${outside}/${name}`, { bigint: true });
      return [name, mode, uid, gid, size, mtimeNs, readFileSync(`${outside}/${name}`, 'utf8')].join(' ');
    })
    .concat([`${lstatSync(outside, { bigint: true }).mtimeNs}`])
    .join('\n');
}

describe('swap race', () => {
  let running: ChildProcess | undefined;
  afterEach(async () => {
    if (running !== undefined) {
      running.kill('SIGKILL');
      await once(running, 'exit');
      running = undefined;
    }
    removeScratchDirectories();
  });

  for (const into of ['fresh', 'merge'] as const) {
    it(`D1 T1 37 nothing outside is touched while directories are swapped for links (${into})`, async () => {
      const outside = scratchDirectory();
      const dir = `${scratchDirectory()}/target`;
      mkdirSync(dir);
      writeFileSync(`${outside}/precious`, 'precious', { mode: 0o640 });
      const before = outsideNow(outside);
      const descriptors = openDescriptors();
      running = spawn(process.execPath, ['-e', attacker, dir, outside], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      await once(running, 'message');

      const target = RestoreTarget.open(fromText(dir), {
        into,
        replaceOtherTypes: true,
        setuid: true,
        onWarning: () => undefined,
      });
      const outcomes = { written: 0, refused: 0 };
      const attempt = (act: () => void): void => {
        try {
          act();
          outcomes.written++;
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          outcomes.refused++;
        }
      };
      const until = performance.now() + 2500;
      for (let i = 0; performance.now() < until || outcomes.written < 50; i++) {
        for (const path of [`d/e/file ${i}`, `d/file ${i}`, `file ${i % 20}`]) {
          attempt(() => {
            const file = target.createFile(path, 5);
            file.write(Buffer.from('hello'), 0, 5, 0);
            file.finish(metadata(S_IFREG | 0o4777, 5));
          });
        }
        attempt(() => target.createDirectory(`d/e/directory ${i}`));
        attempt(() => target.createSymlink(`link ${i % 20}`, 'x', metadata(S_IFLNK | 0o777)));
        attempt(() => target.createSpecial(`fifo ${i % 20}`, metadata(S_IFIFO | 0o666)));
        attempt(() => target.hardLink(`file ${i % 20}`, `d/hard ${i}`));
        attempt(() => target.remove(`d/e/file ${i - 5}`));
        for (const path of ['d', 'd/e']) target.deferDirectory(path, metadata(S_IFDIR | 0o777));
        // Whoever looks up the directories anew meets the links.
        if (i % 10 === 0) target.settle(() => outcomes.refused++);
        if (i % 100 === 0) target.sync();
        if (i % 10 === 0) attempt(() => target.remove('d/e'));
      }
      target.close();
      expect(outsideNow(outside)).to.equal(before);
      expect(outcomes.written, 'the restore got somewhere').to.be.greaterThan(0);
      expect(outcomes.refused, 'the attacker met the restore').to.be.greaterThan(0);
      expect(openDescriptors()).to.be.at.most(descriptors + 3);
    });
  }
});
