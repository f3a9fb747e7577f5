// The threads of one backup: one that scans, and one for each further processor that seals. Started when the backup begins (those
// that seal when they first have something to seal: most backups find little), ended with it: an agent at rest has none.

import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { HoldfastError, isErrorCode } from '@holdfast/shared/base/errors';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { SealOptions } from '@holdfast/shared/format/seal';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { Base } from './base.ts';
import {
  CANCEL_MESSAGE,
  type ChunkMessage,
  type NodeMessage,
  type ProducerWorkerData,
  type ScanDoneMessage,
  type ScanMessage,
  type ScanProgressMessage,
  type SealWorkerData,
} from './messages.ts';
import type { Pressure } from './pressure.ts';
import { BUNDLE_SLAB_BYTES, CHUNK_SLAB_BYTES } from './slabs.ts';
import type { SealedChunk, SealedNode } from './uploader.ts';

const MOST_SEAL_THREADS = 4;
const BUNDLE_SLABS = 3;
/** One is filled while the other is sealed. */
const CHUNK_SLABS = 2;
/** Young objects die young here; a larger nursery only keeps memory. */
const NURSERY_MIB = 4;

/** The thread that makes the content: which module it runs, and with what. */
export interface ProducerThread {
  readonly module: URL;
  readonly settings: unknown;
  /** How long it is given to end by itself when the backup ends before it (child processes, connections); 0: none. */
  readonly graceMs: number;
  readonly onMessage: (message: unknown) => void;
}

export interface BackupThreadsOptions {
  readonly keys: DomainKeys;
  readonly producer: ProducerThread;
  readonly compression: SealOptions;
  readonly base: Base | undefined;
  readonly cacheFile: string;
  readonly directory: string;
  readonly pressure: Pressure;
  readonly onChunk: (chunk: SealedChunk) => void;
  readonly onNode: (node: SealedNode) => void;
  readonly onProgress: (progress: ScanProgressMessage) => void;
}

export class BackupThreads {
  readonly #options: BackupThreadsOptions;
  readonly #workers: Worker[] = [];
  /** Chunks that have arrived, by seal thread. */
  readonly #arrived: number[];
  /** Nodes that arrived before a chunk which they may refer to. */
  readonly #early: NodeMessage[] = [];
  readonly #finished: Promise<ScanDoneMessage>;
  #done: ScanDoneMessage | undefined;
  #resolve!: (done: ScanDoneMessage) => void;
  #reject!: (error: HoldfastError) => void;
  #ended = false;
  /** What each seal thread is started with, until it is. */
  #unstarted: (SealWorkerData | undefined)[] = [];
  #producer!: Worker;
  #producerEnded!: Promise<void>;

  constructor(options: BackupThreadsOptions) {
    this.#options = options;
    const sealThreads = Math.max(1, Math.min(MOST_SEAL_THREADS, availableParallelism() - 1));
    this.#arrived = Array.from({ length: sealThreads }, () => 0);
    const { promise, resolve, reject } = Promise.withResolvers<ScanDoneMessage>();
    this.#finished = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    promise.catch(() => undefined);
    this.#start();
  }

  /** The scan's result, once every chunk and node was handed over. */
  finished(): Promise<ScanDoneMessage> {
    return this.#finished;
  }

  async end(): Promise<void> {
    this.#ended = true;
    const { graceMs } = this.#options.producer;
    if (graceMs > 0 && this.#done === undefined) {
      const patience = Promise.withResolvers<void>();
      const timer = setTimeout(patience.resolve, graceMs);
      this.#producer.postMessage(CANCEL_MESSAGE);
      await Promise.race([this.#producerEnded, patience.promise]);
      clearTimeout(timer);
    }
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #start(): void {
    const { keys, pressure, compression, producer, base, cacheFile, directory } = this.#options;
    const slabs = (count: number, bytes: number) => Array.from({ length: count }, () => new SharedArrayBuffer(bytes));
    const bundles = slabs(BUNDLE_SLABS, BUNDLE_SLAB_BYTES);
    const chunks = slabs(CHUNK_SLABS, CHUNK_SLAB_BYTES);
    const channels = this.#arrived.map(() => new MessageChannel());
    this.#unstarted = channels.map(({ port2 }) => ({
      keys,
      slabs: [...bundles, ...chunks],
      pressure: pressure.memory,
      scanPort: port2,
      compression,
    }));
    const sealPorts = channels.map(({ port1 }) => port1);
    // Without a base everything is to be sealed, and the threads load their modules while the scan's does.
    if (base === undefined) for (const lane of channels.keys()) this.#startSealing(lane);
    const data: ProducerWorkerData = {
      keys,
      slabs: { bundles, chunks },
      pressure: pressure.memory,
      sealPorts,
      base,
      cacheFile,
      directory,
      settings: producer.settings,
    };
    const worker = this.#run(producer.module, data, sealPorts);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#producer = worker;
    this.#producerEnded = promise;
    worker.on('exit', () => resolve());
    worker.on('message', (message: ScanMessage) => {
      if (message.kind === 'done' || message.kind === 'failed') resolve();
      this.#takeFromScan(message);
    });
  }

  /** Pieces that were given to it before wait in its port. */
  #startSealing(lane: number): void {
    const data = this.#unstarted[lane];
    this.#unstarted[lane] = undefined;
    if (data === undefined || this.#ended) return;
    const worker = this.#run(siblingModule(import.meta.url, './seal-worker'), data, [data.scanPort]);
    worker.on('message', (chunk: ChunkMessage) => this.#takeChunk(lane, chunk));
  }

  #run(module: URL, data: SealWorkerData | ProducerWorkerData, transfer: MessagePort[]): Worker {
    const worker = new Worker(module, {
      workerData: data,
      transferList: transfer,
      resourceLimits: { maxYoungGenerationSizeMb: NURSERY_MIB },
    });
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', () => {
      if (!this.#ended && this.#done === undefined) {
        this.#fail(new Error(`a thread of the backup (${module.pathname.split('/').at(-1)}) ended`));
      }
    });
    this.#workers.push(worker);
    return worker;
  }

  #fail(error: unknown): void {
    this.#options.pressure.cancel();
    this.#reject(
      error instanceof HoldfastError
        ? error
        : new HoldfastError('INTERNAL', `a thread of the backup failed: ${String(error)}`, { cause: error }),
    );
  }

  #takeChunk(lane: number, { id, envelope, plainLength }: ChunkMessage): void {
    this.#arrived[lane]!++;
    this.#options.onChunk({ id, envelope, plainLength });
    this.#releaseNodes();
  }

  #takeFromScan(message: ScanMessage): void {
    switch (message.kind) {
      case 'node':
        this.#early.push(message);
        this.#releaseNodes();
        return;
      case 'lane':
        this.#startSealing(message.lane);
        return;
      case 'progress':
        this.#options.onProgress(message);
        return;
      case 'tell':
        this.#options.producer.onMessage(message.message);
        return;
      case 'done':
        this.#done = message;
        this.#releaseNodes();
        return;
      case 'failed': {
        const code = isErrorCode(message.code) ? message.code : 'INTERNAL';
        this.#fail(new HoldfastError(code, message.message, { hint: message.hint, details: message.details }));
      }
    }
  }

  #releaseNodes(): void {
    while (this.#early.length > 0) {
      const { afterChunks, id, envelope, referenceProofs } = this.#early[0]!;
      if (afterChunks.some((count, lane) => this.#arrived[lane]! < count)) return;
      this.#early.shift();
      this.#options.onNode({ id, envelope, referenceProofs });
    }
    if (this.#done !== undefined) this.#resolve(this.#done);
  }
}
