// One client program, through which everything goes into a server that is being restored: the dump's parts, then the log's
// statements. One connection, so that what the session was told (accounts changed meanwhile, GTIDs, character sets) holds throughout.
//
// Hazard: a statement that fails in the middle. The client ends at the first error, and its words become the restore's.

import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { requireTool, RunningTool } from '../tools.ts';

export class StatementClient {
  readonly #tool: RunningTool;
  readonly #input: Writable;
  readonly #signal: AbortSignal;

  constructor(socket: string, user: string, signal: AbortSignal) {
    const args = [
      '--no-defaults',
      `--socket=${socket}`,
      `--user=${user}`,
      '--batch',
      '--binary-mode',
      '--max-allowed-packet=1G',
      '--default-character-set=utf8mb4',
    ];
    this.#tool = new RunningTool(requireTool('client'), args, ['pipe', 'ignore']);
    const { stdin } = this.#tool.child;
    if (stdin === null) throw new HoldfastError('INTERNAL', 'a program without a standard input');
    this.#input = stdin;
    this.#signal = signal;
  }

  async file(path: string | Buffer): Promise<void> {
    await this.#feed(createReadStream(path, { highWaterMark: 1024 * 1024 }));
  }

  async statements(text: string): Promise<void> {
    await this.#write(Buffer.from(text));
  }

  /** A binary log's events from `offset` to its end, as mariadb-binlog writes them. @param scratch for its own files */
  async binlog(path: string, offset: number, scratch: string): Promise<void> {
    const args = ['--no-defaults', `--start-position=${offset}`, `--local-load=${scratch}`, path];
    const tool = new RunningTool(requireTool('binlog'), args, ['ignore', 'pipe']);
    try {
      const { stdout } = tool.child;
      if (stdout !== null) await this.#feed(stdout);
      await tool.done();
    } finally {
      await tool.end();
    }
  }

  /** Everything was executed when it returns. Throws FAILED_PRECONDITION with the server's error. */
  async finish(): Promise<void> {
    this.#input.end();
    await this.#done();
  }

  async end(): Promise<void> {
    await this.#tool.end();
  }

  async #feed(from: Readable): Promise<void> {
    try {
      for await (const bytes of from) {
        if (this.#signal.aborted) throw new HoldfastError('CANCELLED', 'the restore was cancelled');
        await this.#put(bytes as Buffer);
      }
    } catch (error) {
      throw await this.#failure(error);
    }
  }

  async #write(bytes: Buffer): Promise<void> {
    try {
      await this.#put(bytes);
    } catch (error) {
      throw await this.#failure(error);
    }
  }

  /** Resolves when more may be written. Throws when the client has ended. */
  async #put(bytes: Buffer): Promise<void> {
    if (this.#input.destroyed) throw new HoldfastError('FAILED_PRECONDITION', 'the client program ended early');
    if (this.#input.write(bytes)) return;
    const waiting = new AbortController();
    const { signal } = waiting;
    try {
      await Promise.race([once(this.#input, 'drain', { signal }), once(this.#input, 'close', { signal })]);
    } finally {
      waiting.abort();
    }
  }

  /** A pipe that broke is told by the client's own end. */
  async #failure(error: unknown): Promise<unknown> {
    if (this.#signal.aborted) return new HoldfastError('CANCELLED', 'the restore was cancelled', { cause: error });
    this.#input.destroy();
    try {
      await this.#done();
    } catch (said) {
      return said;
    }
    return error;
  }

  async #done(): Promise<void> {
    await this.#tool.done().catch((error: unknown) => {
      throw new HoldfastError('FAILED_PRECONDITION', `the restored server refused a statement: ${this.#tool.words}`, {
        hint: 'The directory holds what was brought back so far; nothing runs there.',
        cause: error,
      });
    });
  }
}
