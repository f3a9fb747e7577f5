// A producer that does what it is told, for run-snapshot.test.ts and page-writer.property.test.ts.

import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OpenStream, SnapshotWriter } from '../../snapshot-writer.ts';
import { type ProducerContext, runProducer } from '../run-producer.ts';

export type Step =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'symlink'; readonly path: string }
  | { readonly kind: 'small'; readonly path: string; readonly bytes: Uint8Array }
  /** `from`: a file on disk. `pieces`: bytes of each write, in turn. */
  | {
      readonly kind: 'stream' | 'pages';
      readonly path: string;
      readonly from: string;
      readonly pieces: readonly number[];
      readonly pageBytes?: number;
      readonly holes?: readonly (readonly [offset: number, length: number])[];
    }
  | { readonly kind: 'warn'; readonly code: string; readonly path: string }
  | { readonly kind: 'fail'; readonly message: string }
  /** Waits for the signal, then says so in a file. */
  | { readonly kind: 'wait'; readonly note: string }
  /** A file without an end, until the writer throws. */
  | { readonly kind: 'endless'; readonly note: string };

export interface Script {
  readonly steps: readonly Step[];
}

const metadata = { mode: 0o640, uid: 1, gid: 2, user: 'one', group: 'two', mtimeMs: 1_700_000_000_123 };

runProducer(async (writer, data, context) => {
  const { steps } = data as Script;
  context.expect({ files: steps.length });
  for (const step of steps) await doStep(step, writer, context);
  return { steps: steps.length };
});

async function doStep(step: Step, writer: SnapshotWriter, context: ProducerContext): Promise<void> {
  switch (step.kind) {
    case 'directory':
      return writer.directory(step.path, metadata);
    case 'symlink':
      return writer.symlink(step.path, 'target', metadata);
    case 'small':
      return writer.smallFile(step.path, metadata, step.bytes);
    case 'warn':
      return writer.warn(step.code, step.path, 'as the test says');
    case 'fail':
      throw new Error(step.message);
    case 'wait':
      context.tell('waiting');
      await sleep(60_000, undefined, { signal: context.signal }).catch(() => writeFileSync(step.note, 'ended'));
      return undefined;
    case 'endless':
      context.tell('writing');
      return writeWithoutEnd(writer, step.note);
    case 'stream':
      return writePieces(step, writer.stream(step.path));
    case 'pages':
      return writePieces(step, writer.pages(step.path, step.pageBytes ?? 8192));
  }
}

function writePieces(step: Extract<Step, { readonly kind: 'stream' | 'pages' }>, open: OpenStream): void {
  const bytes = readFileSync(step.from);
  const writeTo = (end: number): void => {
    for (let i = 0; open.length < end; i++) {
      const length = step.pieces[i % step.pieces.length]!;
      open.write(bytes.subarray(open.length, Math.min(end, open.length + length)));
    }
  };
  for (const [offset, length] of step.holes ?? []) {
    writeTo(offset);
    open.skip(length, 'hole');
  }
  writeTo(bytes.length);
  open.end(metadata);
}

function writeWithoutEnd(writer: SnapshotWriter, note: string): void {
  const open = writer.stream('endless');
  const noise = Buffer.alloc(1024 * 1024);
  try {
    for (let i = 0; ; i++) {
      noise.writeUInt32LE(i, (i * 4096) % noise.length);
      open.write(noise);
    }
  } catch (error) {
    writeFileSync(note, String(error));
    throw error;
  }
}
