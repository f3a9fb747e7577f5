// What the parts of one restore's main thread share: what they work with, and the leaf they are at.

import type { PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import type { ObjectHandle } from '../link/vault-port.ts';
import type { ByteWindow } from './byte-window.ts';
import type { ContentCheck } from './content-check.ts';
import type { ChunkFetcher } from './chunk-fetcher.ts';
import type { LinkGroup } from './hard-links.ts';
import type { NodeFetcher } from './node-fetcher.ts';
import type { OpenedSnapshot } from './open-snapshot.ts';
import type { PostedLeaf, RestoreAnswer, RestoreMode, RestoreTask } from './restore-task.ts';
import type { RestoreTally } from './restore-tally.ts';
import type { KeptPaths } from './kept-paths.ts';
import type { Selection } from './selection.ts';
import type { WorkerPool } from './worker-pool.ts';
import type { WorkInFlight } from './work-in-flight.ts';

/** What a unit costs besides its chunks: the leaf, messages, the thread's work on it. */
export const UNIT_COST_BYTES = 256 * 1024;

export interface RunDeps {
  readonly snapshot: OpenedSnapshot;
  readonly selection: Selection;
  readonly mode: RestoreMode;
  /** The target's own metadata stays as it is. */
  readonly keepRoot: boolean;
  readonly deleteExtra: boolean;
  /** delta: a large file that is there is changed where it stands. */
  readonly inPlace: boolean;
  /** Neither written nor removed. */
  readonly kept: KeptPaths;
  readonly nodes: NodeFetcher;
  readonly chunks: ChunkFetcher;
  readonly pool: WorkerPool<RestoreTask, RestoreAnswer>;
  readonly window: ByteWindow;
  readonly work: WorkInFlight;
  readonly tally: RestoreTally;
  readonly onAnswer: () => void;
  /** verify: told of each file. */
  readonly content?: ContentCheck;
}

/** A leaf whose units are on their way. */
export interface LeafContext {
  readonly view: LeafView;
  readonly posted: PostedLeaf;
  readonly handle: ObjectHandle;
  /** Leaders of hard-link groups, by index. */
  readonly leaders: Map<number, LinkGroup>;
  /** Directories whose xattrs a thread must read first, by index. */
  readonly directories: Map<number, PlacedEntry>;
}
