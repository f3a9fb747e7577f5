// What the threads of a backup say to each other.

import type { MessagePort } from 'node:worker_threads';
import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { ErrorDetails } from '@holdfast/shared/base/errors';
import type { SealOptions } from '@holdfast/shared/format/seal';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { FilesSource, JobWarning } from '../jobs/job.ts';
import type { Base } from './base.ts';

export interface SealWorkerData {
  readonly keys: DomainKeys;
  readonly slabs: readonly SharedArrayBuffer[];
  readonly pressure: SharedArrayBuffer;
  readonly scanPort: MessagePort;
  readonly compression: SealOptions;
}

/** Scan thread → seal thread. */
export interface PieceToSeal {
  readonly serial: number;
  readonly slab: number;
  readonly offset: number;
  readonly length: number;
}

/** Seal thread → scan thread. */
export interface SealedPiece {
  readonly serial: number;
  readonly id: Uint8Array;
  readonly proof: Uint8Array;
}

/** Seal thread → main thread. */
export interface ChunkMessage {
  readonly kind: 'chunk';
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
  readonly plainLength: number;
}

/** Main thread → the thread that makes the snapshot's content: the scan, or an engine's producer. */
export interface ProducerWorkerData<S = unknown> {
  readonly keys: DomainKeys;
  readonly slabs: { readonly bundles: readonly SharedArrayBuffer[]; readonly chunks: readonly SharedArrayBuffer[] };
  readonly pressure: SharedArrayBuffer;
  readonly sealPorts: readonly MessagePort[];
  readonly base: Base | undefined;
  /** The source's NodeCache file. */
  readonly cacheFile: string;
  /** The source's own directory in the agent's state: for what doesn't fit in memory. */
  readonly directory: string;
  /** What the thread's module alone understands. */
  readonly settings: S;
}

export interface ScanSettings {
  readonly source: FilesSource;
  readonly fullRead: boolean;
  readonly changedPaths: readonly ByteString[] | undefined;
}

export interface NodeMessage {
  readonly kind: 'node';
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
  readonly referenceProofs: Uint8Array;
  /** How many chunks of each seal thread came before: they must be offered first. */
  readonly afterChunks: readonly number[];
}

/** The first piece for this seal thread is on its way. */
export interface LaneOpenedMessage {
  readonly kind: 'lane';
  readonly lane: number;
}

export interface ScanProgressMessage {
  readonly kind: 'progress';
  readonly filesDone: number;
  readonly bytesDone: number;
  /** Absent: as much as the base has. */
  readonly filesTotal?: number | undefined;
  readonly bytesTotal?: number | undefined;
  readonly currentPath: ByteString;
}

export interface ScanDoneMessage {
  readonly kind: 'done';
  readonly root: {
    readonly id: Uint8Array;
    readonly proof: Uint8Array;
    readonly entries: number;
    readonly totalBytes: number;
  };
  readonly files: number;
  readonly filesChanged: number;
  readonly bytesRead: number;
  /** Some path that should be in the snapshot is not. */
  readonly partial: boolean;
  readonly warnings: readonly JobWarning[];
  readonly warningsTotal: number;
  readonly dead: Base['dead'];
  /** What an engine's producer returned. */
  readonly result?: unknown;
}

/** An engine's producer → its main thread, while it runs. */
export interface ProducerTellMessage {
  readonly kind: 'tell';
  readonly message: unknown;
}

/** Main thread → producer: end soon, or be ended. */
export const CANCEL_MESSAGE = 'cancel';

export interface ScanFailedMessage {
  readonly kind: 'failed';
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly details: ErrorDetails;
}

export type ScanMessage =
  | NodeMessage
  | LaneOpenedMessage
  | ScanProgressMessage
  | ProducerTellMessage
  | ScanDoneMessage
  | ScanFailedMessage;
