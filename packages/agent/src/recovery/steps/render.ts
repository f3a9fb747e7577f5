// `render`: what a plan's files say of the old host says the new one, once they are restored.
//
// Hazard: a configuration that is half written, that everybody may read from now on, or in which a replacement was replaced again. So a file is
// replaced as a whole, with its owner and mode, and its new content is remembered: what is there already is left alone.
//
// Tested in step-conformance.test.ts.

import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { systemFiles } from '../../link/durable-file.ts';
import type { StepRecord } from './step-records.ts';
import type { SpecOf, StepContext, StepType } from './step-type.ts';

type Spec = SpecOf<'render'>;
type Replacements = Readonly<Record<string, string>>;

const FILE_MAX_BYTES = 16 * 1024 * 1024;

export const renderStep: StepType<Spec> = {
  changes: true,

  async precheck() {
    return { state: 'ok', message: 'the files come with the restore' };
  },

  async probe({ files }, context, record) {
    const open = files.filter(({ file }) => hashOf(read(context, file).text) !== remembered(record, file));
    if (open.length === 0) return { state: 'done', message: `${files.length} files are rendered` };
    return { state: 'not-done', message: `${open.map(({ file }) => file).join(', ')}: not rendered` };
  },

  async apply({ files }, context) {
    let replaced = 0;
    for (const { file, replace } of files) {
      const held = read(context, file);
      if (hashOf(held.text) === context.memory()[file]) continue;
      const rendered = render(held.text, replace);
      replaced += rendered.count;
      // Before the file: an agent that dies in between finds a file that is not what it remembers, and renders it.
      context.remember({ [file]: hashOf(rendered.text) });
      if (rendered.count > 0) replaceFile(context.path(file), rendered.text, held);
    }
    return {
      state: 'ok',
      message: `${replaced} places in ${files.length} files`,
      facts: { replaced: String(replaced) },
    };
  },

  async verify(spec, context, record) {
    const found = await this.probe(spec, context, record);
    return { ...found, state: found.state === 'done' ? 'ok' : 'failed' };
  },
};

/** Every place once, the longest key first; what was put in is not looked at again. @param text bytes, one per character */
export function render(text: string, replace: Replacements): { text: string; count: number } {
  const latin1 = (value: string): string => Buffer.from(value).toString('latin1');
  const byKey = new Map(Object.entries(replace).map(([key, value]) => [latin1(key), latin1(value)]));
  const keys = [...byKey.keys()].toSorted((a, b) => b.length - a.length);
  if (keys.length === 0) return { text, count: 0 };
  let count = 0;
  const pattern = new RegExp(keys.map((key) => key.replace(/[.*+?^${}()|[\]\\/-]/g, String.raw`\$&`)).join('|'), 'g');
  const rendered = text.replaceAll(pattern, (key) => {
    count++;
    return byKey.get(key) ?? key;
  });
  return { text: rendered, count };
}

interface Held {
  readonly text: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

function read(context: StepContext, file: string): Held {
  let fd: number;
  try {
    fd = openSync(context.path(file), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    throw new HoldfastError('FAILED_PRECONDITION', `${file} can't be read, or is a link`, {
      hint: 'Only files that the restore brings are rendered.',
      cause,
    });
  }
  try {
    const { uid, gid, mode, size } = fstatSync(fd);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG || size > FILE_MAX_BYTES) {
      throw new HoldfastError('FAILED_PRECONDITION', `${file} is no file of at most 16 MiB`);
    }
    return { text: readFileSync(fd, 'latin1'), uid, gid, mode: mode & 0o7777 };
  } finally {
    closeSync(fd);
  }
}

function replaceFile(path: string, text: string, { uid, gid, mode }: Held): void {
  const temporary = join(dirname(path), `.${basename(path).slice(0, 200)}.${randomUUID()}.new`);
  try {
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      const bytes = Buffer.from(text, 'latin1');
      for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
      fchownSync(fd, uid, gid);
      fchmodSync(fd, mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  systemFiles.syncDirectory(dirname(path));
}

function hashOf(text: string): string {
  return createHash('sha256').update(text, 'latin1').digest('hex');
}

function remembered(record: StepRecord | undefined, file: string): string | undefined {
  return record?.memory[file];
}
