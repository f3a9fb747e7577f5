// The worst tree we can think of: every kind of name, depth, link, attribute, time, mode, owner and hole that Linux allows
// (threats 24–33). Made with Node's fs and the system's own tools where they can, not with the code under test.
//
// What a machine does not allow (no root, no chattr, a file system without ACLs) is left out and named in the answer, so that
// a test can say what it did not see.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from '@holdfast/shared/format/manifest/stat-record';
import { allocate } from '@holdfast/agent/os/descriptors';
import { makeNodeAt } from '@holdfast/agent/os/directory-entries';

export interface Planted {
  /** What could not be made here, with the reason. */
  readonly leftOut: readonly string[];
}

export interface WorstTreeOptions {
  /** Files in the directory of many (default 10,000). */
  readonly many?: number;
  /** Levels of the deep directory (default 400), each with a name of 200 bytes. */
  readonly levels?: number;
}

export const IS_ROOT = process.geteuid?.() === 0;

/** Fills `root`, an existing empty directory. */
export function plantWorstTree(root: string, options: WorstTreeOptions = {}): Planted {
  const leftOut: string[] = [];
  const planter = new Planter(root, leftOut);
  planter.names();
  planter.many(options.many ?? 10_000);
  planter.deep(options.levels ?? 400);
  planter.symlinks();
  planter.specials();
  planter.hardLinks();
  planter.attributes();
  planter.modes();
  planter.owners();
  planter.holes();
  planter.times();
  planter.flags();
  return { leftOut };
}

class Planter {
  readonly #root: string;
  readonly #leftOut: string[];

  constructor(root: string, leftOut: string[]) {
    this.#root = root;
    this.#leftOut = leftOut;
  }

  names(): void {
    const dir = this.#directory('names');
    for (const [index, name] of awkwardNames().entries()) {
      writeFileSync(path(dir, name), `content ${index}`);
      mkdirSync(path(`${dir}-dirs`, name), { recursive: true });
      writeFileSync(path(`${dir}-dirs/${name}`, 'x'), name, 'latin1');
    }
  }

  many(count: number): void {
    const dir = this.#directory('many');
    for (let i = 0; i < count; i++) writeFileSync(`${dir}/${(i * 7919) % count}`, i % 10 === 0 ? `${i}` : '');
  }

  deep(levels: number): void {
    let fd = openSync(this.#directory('deep'), DIRECTORY);
    try {
      for (let level = 0; level < levels; level++) {
        const name = `${level}-`.padEnd(200, 'd');
        const at = `/proc/self/fd/${fd}`;
        mkdirSync(`${at}/${name}`, level % 7 === 0 ? 0o700 : 0o755);
        if (level % 50 === 49 || level === levels - 1) {
          writeFileSync(`${at}/${name}/file`, `level ${level}`);
          symlinkSync('../file', `${at}/${name}/link`);
          linkSync(`${at}/${name}/file`, `${at}/${name}/second name`);
          this.#tool(
            `attributes ${level} levels deep`,
            'setfattr',
            ['-n', 'user.level', '-v', `${level}`, `${at}/${name}/file`],
            fd,
          );
        }
        const next = openSync(`${at}/${name}`, DIRECTORY);
        closeSync(fd);
        fd = next;
      }
    } finally {
      closeSync(fd);
    }
  }

  symlinks(): void {
    const dir = this.#directory('symlinks');
    const targets = [
      '.',
      '..',
      '/',
      'nowhere',
      'loop',
      '../symlinks/loop2',
      'a//b/../c/',
      'new\nline',
      '\xff\xfe',
      'x'.repeat(4095),
      '/etc/passwd',
      ' ',
    ];
    for (const [index, target] of targets.entries()) symlinkSync(toBytes(target), `${dir}/${index}`);
    symlinkSync('loop', `${dir}/loop`);
    symlinkSync('loop3', `${dir}/loop2`);
    symlinkSync('loop2', `${dir}/loop3`);
    symlinkSync('.', path(dir, '\xc3\x28'));
  }

  specials(): void {
    const dir = this.#directory('specials');
    this.#node(dir, 'fifo', S_IFIFO | 0o640);
    this.#node(dir, 'socket', S_IFSOCK | 0o755);
    if (!this.#needsRoot('devices')) return;
    const devices = [[1, 3], [0, 0], [4095, 1_048_575], [259, 300], [8, 1]]; // prettier-ignore
    for (const [major = 0, minor = 0] of devices) {
      this.#node(dir, `char-${major}-${minor}`, S_IFCHR | 0o600, major, minor);
      this.#node(dir, `block-${major}-${minor}`, S_IFBLK | 0o660, major, minor);
    }
  }

  hardLinks(): void {
    const dir = this.#directory('hard-links');
    writeFileSync(`${dir}/one of 1000`, 'many names');
    for (const part of ['a', 'b', 'c']) mkdirSync(`${dir}/${part}`);
    for (let i = 0; i < 999; i++) linkSync(`${dir}/one of 1000`, `${dir}/${'abc'[i % 3]}/${i}`);
    symlinkSync('target', `${dir}/symlink`);
    linkSync(`${dir}/symlink`, `${dir}/symlink 2`);
    this.#node(dir, 'fifo', S_IFIFO | 0o600);
    linkSync(`${dir}/fifo`, `${dir}/a/fifo 2`);
    this.#node(dir, 'socket', S_IFSOCK | 0o600);
    linkSync(`${dir}/socket`, `${dir}/socket 2`);
    writeFileSync(`${dir}/empty`, '');
    linkSync(`${dir}/empty`, `${dir}/b/empty 2`);
    if (!this.#needsRoot('hard links of devices')) return;
    this.#node(dir, 'device', S_IFCHR | 0o600, 1, 5);
    linkSync(`${dir}/device`, `${dir}/c/device 2`);
  }

  attributes(): void {
    const dir = this.#directory('attributes');
    const places = ['file', 'directory'];
    writeFileSync(`${dir}/file`, 'x');
    mkdirSync(`${dir}/directory`);
    for (const place of places) {
      this.#xattr(`${dir}/${place}`, 'user.empty', '');
      this.#xattr(`${dir}/${place}`, 'user.nul', 'a\0b\0');
      this.#xattr(`${dir}/${place}`, 'user.\xff\xfe', '\x80\x81');
      this.#xattr(`${dir}/${place}`, `user.${'n'.repeat(200)}`, 'long name');
    }
    writeFileSync(`${dir}/large`, 'x');
    this.#xattr(`${dir}/large`, 'user.large', 'v'.repeat(3500));
    writeFileSync(`${dir}/hundred`, 'x');
    for (let i = 0; i < 100; i++) this.#xattr(`${dir}/hundred`, `user.${i}`, `${i}`);
    this.#accessLists(dir);
    if (!this.#needsRoot('trusted and security attributes, capabilities')) return;
    symlinkSync('file', `${dir}/symlink`);
    this.#node(dir, 'device', S_IFCHR | 0o600, 1, 3);
    this.#node(dir, 'fifo', S_IFIFO | 0o600);
    for (const place of [...places, 'symlink', 'device', 'fifo']) {
      this.#xattr(`${dir}/${place}`, 'trusted.holdfast', 'trusted\0value');
      this.#xattr(`${dir}/${place}`, 'security.holdfast', place);
    }
    writeFileSync(`${dir}/capable`, '#!/bin/sh\n', { mode: 0o755 });
    // cap_net_bind_service=ep, as setcap writes it (VFS_CAP_REVISION_2).
    this.#xattr(`${dir}/capable`, 'security.capability', '\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0');
  }

  #accessLists(dir: string): void {
    writeFileSync(`${dir}/acl`, 'x', { mode: 0o640 });
    mkdirSync(`${dir}/acl-directory`);
    this.#tool('ACLs', 'setfacl', ['-m', 'u:1234:rw-,g:4321:r--,m::rw-', `${dir}/acl`]);
    this.#tool('ACLs', 'setfacl', ['-m', 'u:0:rwx,d:u:77:rwx,d:g:88:r-x,d:o::---', `${dir}/acl-directory`]);
    mkdirSync(`${dir}/acl-directory/inherits`);
    writeFileSync(`${dir}/acl-directory/inherits/file`, 'x');
    mkdirSync(`${dir}/acl-directory/plain`);
    this.#tool('ACLs', 'setfacl', ['-b', '-k', `${dir}/acl-directory/plain`]);
  }

  modes(): void {
    const dir = this.#directory('modes');
    for (let mode = 0; mode <= 0o7777; mode++) {
      // Only root reads back a file that its owner may not read, and brings setuid and setgid bits back.
      if (!IS_ROOT && ((mode & 0o400) === 0 || (mode & 0o6000) !== 0)) continue;
      writeFileSync(`${dir}/${mode.toString(8)}`, '');
      chmodSync(`${dir}/${mode.toString(8)}`, mode);
    }
    if (!this.#needsRoot('directories of every mode')) return;
    for (let mode = 0; mode <= 0o7777; mode += 0o111) {
      mkdirSync(`${dir}/directory-${mode.toString(8)}`);
      writeFileSync(`${dir}/directory-${mode.toString(8)}/inside`, 'x');
      chmodSync(`${dir}/directory-${mode.toString(8)}`, mode);
    }
  }

  owners(): void {
    if (!this.#needsRoot('foreign owners')) return;
    const dir = this.#directory('owners');
    for (const id of [0, 1, 1000, 65_534, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2]) {
      writeFileSync(`${dir}/file-${id}`, 'x');
      mkdirSync(`${dir}/directory-${id}`);
      symlinkSync('x', `${dir}/link-${id}`);
      this.#tool('owners', 'chown', [
        '-h',
        `${id}:${2 ** 32 - 2 - id}`,
        ...['file', 'directory', 'link'].map((kind) => `${dir}/${kind}-${id}`),
      ]);
    }
    writeFileSync(`${dir}/setuid of another`, 'x');
    this.#tool('owners', 'chown', ['12:34', `${dir}/setuid of another`]);
    chmodSync(`${dir}/setuid of another`, 0o6711);
  }

  holes(): void {
    const dir = this.#directory('holes');
    const file = (name: string, size: number, data: readonly number[], allocated?: readonly [number, number]): void => {
      const fd = openSync(`${dir}/${name}`, 'w');
      try {
        if (allocated !== undefined && allocate(fd, ...allocated) < 0)
          this.#leftOut.push('preallocation: not supported here');
        for (const at of data) writeSync(fd, Buffer.alloc(4096, `${name} ${at}`), 0, 4096, at);
      } finally {
        closeSync(fd);
      }
      truncateSync(`${dir}/${name}`, size);
    };
    file('all', 1024 * 1024, []);
    file('one byte', 1, []);
    file('leading', 2 ** 20 + 4096, [2 ** 20]);
    file('trailing', 2 ** 22, [0]);
    file('middle', 2 ** 21, [0, 2 ** 21 - 4096]);
    file('comb', 2 ** 20, [0, 65_536, 131_072, 262_144]);
    file('odd end', 1_000_001, [0]);
    file('beyond 4 GiB', 5 * 2 ** 30 + 17, [4096, 5 * 2 ** 30 - 8192]);
    file('64 GiB', 64 * 2 ** 30, [0, 64 * 2 ** 30 - 4096]);
    file('preallocated', 2 ** 20, [], [0, 2 ** 20]);
    file('preallocated, half written', 2 ** 20, [0, 4096, 524_288], [0, 2 ** 20]);
    file('preallocated in a hole', 2 ** 22, [0], [2 ** 20, 2 ** 20]);
    writeFileSync(`${dir}/written zeros`, Buffer.alloc(300_000));
    for (const size of [0, 1, 4095, 4096, 4097, 300_000])
      writeFileSync(`${dir}/size ${size}`, Buffer.alloc(size, 'data'));
  }

  times(): void {
    const dir = this.#directory('times');
    const seconds = [
      '-2147483648',
      '-2147483648.999999999',
      '-1',
      '-0.5',
      '-0.000000001',
      '0',
      '0.000000001',
      '1',
      '2147483647.999999999',
      '2147483648',
      '4294967296',
      '15032385535',
      '1700000000.123456789',
    ];
    for (const time of seconds) {
      writeFileSync(`${dir}/file ${time}`, 'x');
      mkdirSync(`${dir}/directory ${time}`);
      writeFileSync(`${dir}/directory ${time}/inside`, 'x');
      symlinkSync('x', `${dir}/link ${time}`);
      this.#node(dir, `fifo ${time}`, S_IFIFO | 0o600);
      const names = ['file', 'directory', 'link', 'fifo'].map((kind) => `${dir}/${kind} ${time}`);
      this.#tool('times', 'touch', ['-h', '-m', '-d', `@${time}`, ...names]);
    }
    lutimesSync(dir, 0, 0);
  }

  flags(): void {
    if (!this.#needsRoot('inode flags')) return;
    const dir = this.#directory('flags');
    for (const flag of ['i', 'a', 'A', 'd', 'S', 'ia', 'dAS']) {
      writeFileSync(`${dir}/file ${flag}`, 'x');
      mkdirSync(`${dir}/directory ${flag}`);
      writeFileSync(`${dir}/directory ${flag}/inside`, 'x');
    }
    mkdirSync(`${dir}/directory DT`);
    writeFileSync(`${dir}/linked`, 'x');
    linkSync(`${dir}/linked`, `${dir}/directory i/linked too`);
    for (const flag of ['i', 'a', 'A', 'd', 'S', 'ia', 'dAS']) {
      this.#tool('inode flags', 'chattr', [`+${flag}`, `${dir}/file ${flag}`, `${dir}/directory ${flag}`]);
    }
    this.#tool('inode flags', 'chattr', ['+DT', `${dir}/directory DT`]);
    this.#tool('inode flags', 'chattr', ['+i', `${dir}/linked`]);
  }

  #directory(name: string): string {
    mkdirSync(`${this.#root}/${name}`);
    return `${this.#root}/${name}`;
  }

  #node(dir: string, name: string, mode: number, major = 0, minor = 0): void {
    const fd = openSync(dir, DIRECTORY);
    const result = makeNodeAt(fd, name, mode, major, minor);
    closeSync(fd);
    if (result < 0) throw new Error(`mknod ${name}: errno ${-result}`);
  }

  #needsRoot(what: string): boolean {
    if (!IS_ROOT) this.#leftOut.push(`${what}: only root can make them`);
    return IS_ROOT;
  }

  /** Name and value as byte strings. */
  #xattr(file: string, name: ByteString, value: ByteString): void {
    const hex = `0x${toBytes(value).toString('hex')}`;
    // An argument can't carry bytes that are not UTF-8 through Node; --restore reads them from a file with octal escapes.
    const escaped = [...toBytes(name)]
      .map((byte) =>
        byte > 32 && byte < 127 && byte !== 92 ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`,
      )
      .join('');
    const dump = `# file: ${file.replaceAll(' ', '\\040').slice(1)}\n${escaped}=${value === '' ? '""' : hex}\n`;
    this.#tool(`attribute ${name.slice(0, 20)}`, 'setfattr', ['-h', '--restore=-'], undefined, dump);
  }

  #tool(what: string, command: string, args: readonly string[], fd?: number, input?: string): void {
    const stdio = ['pipe', 'ignore', 'pipe', ...(fd === undefined ? [] : [fd])] as const;
    const mapped = fd === undefined ? args : args.map((arg) => arg.replace(`/proc/self/fd/${fd}/`, '/proc/self/fd/3/'));
    const { status, stderr, error } = spawnSync(command, mapped, { cwd: '/', input: input ?? '', stdio: [...stdio] });
    if (status !== 0) this.#leftOut.push(`${what}: ${error?.message ?? stderr.toString().trim()}`);
  }
}

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;

function path(dir: string, name: ByteString): Buffer {
  return toBytes(`${dir}/${name}`);
}

/** Byte strings: each byte alone, and what has tripped others. */
function awkwardNames(): ByteString[] {
  const single: ByteString[] = [];
  for (let byte = 1; byte < 256; byte++) {
    const name = String.fromCharCode(byte);
    if (name !== '/' && name !== '.') single.push(name);
  }
  return [
    ...single,
    ...[
      '..a',
      '...',
      '-',
      '-rf',
      '--help',
      '-0',
      '__proto__',
      'constructor',
      'hasOwnProperty',
      'new\nline',
      'a\tb',
      ' ',
      ' x ',
      'x.',
      '\\',
      '\\n',
      '*',
      '$(id)',
      '`id`',
      '%00',
      '.holdfast-x',
      'CON',
      '~root',
      '#x#',
      '!x',
    ].filter((name) => name.length > 1),
    Buffer.from('é').toString('latin1'),
    Buffer.from('e\u0301').toString('latin1'),
    Buffer.from('\u202egnp.exe').toString('latin1'),
    '\xc3\x28',
    '\xff\xfe\xfd',
    'n'.repeat(255),
    '\xff'.repeat(255),
    Buffer.from('ü'.repeat(127)).toString('latin1'),
  ];
}
