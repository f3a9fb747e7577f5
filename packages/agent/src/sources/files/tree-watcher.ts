// Watching a source's directories, in a thread of its own.
//
// Hazard: a watcher's memory grows with the tree. In a thread its heap has a hard limit: a tree that is too much for it ends
// the thread, not the agent, and the source falls back to scans. The thread also keeps the watcher's work from delaying
// heartbeats.

import { Worker } from 'node:worker_threads';
import type { ByteString } from '@holdfast/shared/base/byte-string';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { FilesSource } from '../../jobs/job.ts';

export interface WatchOrder {
  readonly files: FilesSource;
  /** Directories beyond which it gives up. */
  readonly maxDirectories: number;
}

export type WatchMessage =
  /** Watching. `unwatchable`: directories whose names are not UTF-8, as paths of the manifest. */
  | { readonly kind: 'ready'; readonly directories: number; readonly unwatchable: readonly ByteString[] }
  | { readonly kind: 'changes'; readonly paths: readonly ByteString[] | 'everything'; readonly directories: number }
  /** The last message. `over`: more directories than allowed. */
  | { readonly kind: 'ended'; readonly why: 'over' | 'failed'; readonly note: string };

export interface TreeWatcher {
  stop(): Promise<void>;
}

export type WatchTree = (order: WatchOrder, onMessage: (message: WatchMessage) => void) => TreeWatcher;

/** Enough for about 20,000 directories. */
const HEAP_LIMITS = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 4, stackSizeMb: 2 };

export const watchTree: WatchTree = (order, onMessage) => {
  const worker = new Worker(siblingModule(import.meta.url, './tree-watch-worker'), {
    workerData: order,
    resourceLimits: HEAP_LIMITS,
  });
  let over = false;
  const tell = (message: WatchMessage): void => {
    if (over) return;
    over = message.kind === 'ended';
    onMessage(message);
  };
  worker.on('message', tell);
  worker.on('error', (error) => tell({ kind: 'ended', why: 'failed', note: error.message }));
  worker.on('exit', () => tell({ kind: 'ended', why: 'failed', note: 'the watcher ended' }));
  return {
    async stop() {
      over = true;
      await worker.terminate();
    },
  };
};
