// The data that the benches work on, prepared once below the bench's directory: real kernel sources from Debian's packages,
// a tree of many small files, and a sparse image.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const PACKAGE = 'linux-source-6.1';

/** Tarballs of two versions of the kernel's source, older first. */
export function kernelTarballs(dir: string, say: (line: string) => void): [string, string] {
  const found = (): string[] =>
    existsSync(dir)
      ? readdirSync(dir)
          .filter((name) => name.startsWith('kernel-') && name.endsWith('.tar.xz'))
          .toSorted((a, b) => a.localeCompare(b, undefined, { numeric: true }))
          .map((name) => join(dir, name))
      : [];
  if (found().length < 2) {
    mkdirSync(dir, { recursive: true });
    for (const version of kernelVersions()) fetchKernel(dir, version, say);
  }
  const [older, newer] = found();
  return [older!, newer!];
}

function kernelVersions(): string[] {
  execFileSync('apt-get', ['update', '-qq'], { stdio: 'ignore' });
  const listed = execFileSync('apt-cache', ['madison', PACKAGE], { encoding: 'utf8' });
  const versions = [...new Set([...listed.matchAll(/\|\s*(\S+)\s*\|/g)].map((match) => match[1]!))].toSorted((a, b) =>
    a.localeCompare(b, undefined, { numeric: true }),
  );
  if (versions.length < 2) throw new Error(`Debian offers ${versions.length} version(s) of ${PACKAGE}; two are needed`);
  return versions.slice(0, 2);
}

function fetchKernel(dir: string, version: string, say: (line: string) => void): void {
  say(`fetching ${PACKAGE} ${version} …`);
  const work = join(dir, `fetch-${version}`);
  mkdirSync(work, { recursive: true });
  execFileSync('apt-get', ['download', '-qq', `${PACKAGE}=${version}`], { cwd: work, stdio: 'ignore' });
  const deb = readdirSync(work).find((name) => name.endsWith('.deb'))!;
  execFileSync('dpkg-deb', ['-x', deb, 'content'], { cwd: work });
  renameSync(join(work, 'content/usr/src', `${PACKAGE}.tar.xz`), join(dir, `kernel-${version}.tar.xz`));
  rmSync(work, { recursive: true });
}

/**
 * Replaces what `target` holds by the tarball's tree, as an upgrade in place would. The old tree is moved to `aside`, not
 * deleted: for a minute after a mass deletion ext4 is many times slower to make new inodes, which would be measured later.
 */
export function unpackInPlace(tarball: string, target: string, aside: string): void {
  if (existsSync(target)) {
    mkdirSync(aside, { recursive: true });
    renameSync(target, join(aside, `${Date.now()}`));
  }
  mkdirSync(target, { recursive: true });
  execFileSync('tar', ['-xJf', tarball, '-C', target, '--strip-components=1']);
}

/** `count` files of 100 to 2,100 bytes in directories of 500, the same each time. */
export function smallFiles(target: string, count: number): void {
  if (existsSync(join(target, 'complete'))) return;
  rmSync(target, { recursive: true, force: true });
  for (let index = 0; index < count; index++) {
    const folder = join(target, `d${Math.floor(index / 50_000)}`, `e${Math.floor(index / 500)}`);
    if (index % 500 === 0) mkdirSync(folder, { recursive: true });
    const seed = createHash('sha256').update(String(index)).digest('hex');
    writeFileSync(
      join(folder, `file-${index}.txt`),
      seed.repeat(33).slice(0, 100 + (Number.parseInt(seed.slice(0, 4), 16) % 2000)),
    );
  }
  writeFileSync(join(target, 'complete'), '');
}

/** A 2 GiB image of which 256 MiB in 64 places are data. */
export function sparseImage(folder: string): void {
  const path = join(folder, 'disk.img');
  if (existsSync(path)) return;
  mkdirSync(folder, { recursive: true });
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 2 * 1024 ** 3);
  let seed = Buffer.from('holdfast');
  for (let place = 0; place < 64; place++) {
    const blocks: Buffer[] = [];
    for (let i = 0; i < 1024; i++) {
      seed = createHash('sha512').update(seed).digest();
      blocks.push(Buffer.concat(Array.from({ length: 64 }, () => seed)));
    }
    writeSync(fd, Buffer.concat(blocks), 0, undefined, place * 32 * 1024 ** 2);
  }
  closeSync(fd);
}

const RESTORE_IMAGE_BYTES = 16 * 1024 ** 3;

/**
 * A fresh ext4 in a sparse file, mounted at `folder`: every restore then finds the same file system, whatever was deleted on
 * the machine's own. Returns what unmounts it. Without root the folder itself is used.
 */
export function freshFileSystem(folder: string, say: (line: string) => void): () => void {
  mkdirSync(folder, { recursive: true });
  if (process.getuid?.() !== 0) {
    say("(not root: restores go to the machine's own file system)");
    return () => undefined;
  }
  const image = `${folder}.img`;
  rmSync(image, { force: true });
  const fd = openSync(image, 'w');
  ftruncateSync(fd, RESTORE_IMAGE_BYTES);
  closeSync(fd);
  execFileSync('mkfs.ext4', ['-q', image], { stdio: 'ignore' });
  execFileSync('mount', ['-o', 'loop', image, folder]);
  return () => {
    execFileSync('umount', [folder]);
    rmSync(image);
  };
}
