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

export interface ScanWorkerData {
  readonly keys: DomainKeys;
  readonly slabs: { readonly bundles: readonly SharedArrayBuffer[]; readonly chunks: readonly SharedArrayBuffer[] };
  readonly pressure: SharedArrayBuffer;
  readonly sealPorts: readonly MessagePort[];
  readonly source: FilesSource;
  readonly fullRead: boolean;
  readonly changedPaths: readonly ByteString[] | undefined;
  readonly base: Base | undefined;
  /** The source's NodeCache file. */
  readonly cacheFile: string;
}

export interface NodeMessage {
  readonly kind: 'node';
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
  readonly referenceProofs: Uint8Array;
  /** How many chunks of each seal thread came before: they must be offered first. */
  readonly afterChunks: readonly number[];
}

export interface ScanProgressMessage {
  readonly kind: 'progress';
  readonly filesDone: number;
  readonly bytesDone: number;
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
}

export interface ScanFailedMessage {
  readonly kind: 'failed';
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly details: ErrorDetails;
}

export type ScanMessage = NodeMessage | ScanProgressMessage | ScanDoneMessage | ScanFailedMessage;
