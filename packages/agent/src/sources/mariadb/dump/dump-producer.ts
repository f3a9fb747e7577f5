// The thread that dumps a server: the dump program's output, split, into the snapshot as it comes.
//
//     mariadb-dump ── pipe ──▶ DumpSplitter ──▶ SnapshotWriter (blocks while too much is on its way)
//
// Hazard: half a dump that looks whole. The program's exit code counts, and the last line of what it wrote; either way there is no
// snapshot. A schema that changed meanwhile ends the dump too, and is told apart: the whole is tried again (base.ts).

import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { runProducer, type ProducerContext } from '../../../backup/producer/run-producer.ts';
import type { EntryMetadata, SnapshotWriter } from '../../../backup/snapshot-writer.ts';
import { INDEX_PATH, type BaseIndex } from '../base-index.ts';
import { RunningTool } from '../tools.ts';
import { PartWriter } from './part-writer.ts';
import { DumpSplitter, type DumpPosition } from './dump-splitter.ts';

export interface DumpOrder {
  readonly tool: string;
  readonly args: readonly string[];
  /** Facts for a restore, beside which the parts are listed. */
  readonly facts: Readonly<Record<string, string>>;
  /** Unix ms: of the entries. */
  readonly nowMs: number;
  /** Said as warnings of the snapshot. */
  readonly warnings: readonly string[];
}

async function dump(writer: SnapshotWriter, order: DumpOrder, context: ProducerContext): Promise<DumpPosition> {
  const metadata = metadataAt(order.nowMs);
  for (const warning of order.warnings) writer.warn('not-transactional', '', warning);
  const part = new PartWriter(writer, metadata);
  const splitter = new DumpSplitter(part);
  const tool = new RunningTool(order.tool, order.args, ['ignore', 'pipe']);
  const cancel = (): void => void tool.child.kill('SIGKILL');
  context.signal.addEventListener('abort', cancel, { once: true });
  try {
    if (context.signal.aborted) cancel();
    let told = false;
    for await (const bytes of tool.child.stdout ?? []) {
      splitter.push(bytes as Buffer);
      if (!told && splitter.parts.length > 1) {
        told = true;
        context.tell('the dump stands at a point from now on');
      }
    }
    splitter.finish();
    await tool.done().catch((error: unknown) => {
      throw schemaChanged(tool.words) ?? error;
    });
  } finally {
    context.signal.removeEventListener('abort', cancel);
    await tool.end();
  }
  context.throwIfCancelled();
  if (!splitter.complete) {
    throw new HoldfastError('FAILED_PRECONDITION', `${tool.name} ended well, and its dump does not`, {
      hint: 'Look for skip-comments or compact in the groups of the option file that it reads.',
    });
  }
  part.end();
  const { position, parts } = splitter;
  const index: BaseIndex = { version: 1, method: 'logical', facts: { ...order.facts }, position, parts: [...parts] };
  const file = writer.stream(fromText(INDEX_PATH));
  file.write(Buffer.from(JSON.stringify(index)));
  file.end(metadata);
  return position;
}

function metadataAt(mtimeMs: number): EntryMetadata {
  return { mode: 0o600, uid: 0, gid: 0, user: 'root', group: 'root', mtimeMs };
}

/** ER_TABLE_DEF_CHANGED, and what vanished between its listing and its dump. */
function schemaChanged(words: string): HoldfastError | undefined {
  const said = /.*(?:\b1412\b|\b1146\b|Couldn't find table|definition has changed).*/.exec(words)?.[0];
  if (said === undefined) return undefined;
  return new HoldfastError('BUSY', `the schema changed while it was dumped: ${said}`, {
    hint: 'Back up again when no tables are made, altered or dropped.',
    details: { schemaChanged: true },
  });
}

// Last: it begins at once, and needs everything above.
runProducer(async (writer, data, context) => dump(writer, data as DumpOrder, context));
