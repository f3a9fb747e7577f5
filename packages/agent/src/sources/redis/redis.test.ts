import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import type { EngineSpec } from '../../jobs/job.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { RedisConnection } from './connection.ts';
import { parseDsn } from './dsn.ts';
import { redisEngine } from './engine.ts';
import { RdbCheck } from './rdb-check.ts';

const signal = new AbortController().signal;

class RedisServer {
  readonly directory: string;
  readonly #process: ChildProcess;

  private constructor(directory: string, words: readonly string[]) {
    this.directory = directory;
    const common = ['--port', '0', '--unixsocket', this.socket, '--dir', directory, '--save', '', '--logfile', 'log'];
    this.#process = spawn('redis-server', [...common, ...words], { stdio: 'ignore' });
    const killWithUs = (): void => void this.#process.kill('SIGKILL');
    process.once('exit', killWithUs);
    this.#process.once('exit', () => process.off('exit', killWithUs));
  }

  /** @param directory one with a dump.rdb is loaded from it */
  static async start(directory = mkdtempSync(join(tmpdir(), 'hf-redis-')), words: string[] = []): Promise<RedisServer> {
    const server = new RedisServer(directory, words);
    for (let tries = 0; tries < 200 && !existsSync(server.socket); tries++) await wait(25);
    return server;
  }

  get socket(): string {
    return join(this.directory, 'redis.sock');
  }

  /** A script's answer. */
  async eval(script: string): Promise<string> {
    const connection = await RedisConnection.open(parseDsn(`socket=${this.socket}`), signal);
    try {
      return String(await connection.command('EVAL', script, '0'));
    } finally {
      connection.close();
    }
  }

  /** Everything in it, in one word. */
  async fingerprint(): Promise<string> {
    const all = await this.eval(`
      local out = {}
      local keys = redis.call('keys', '*')
      table.sort(keys)
      for _, key in ipairs(keys) do
        local kind = redis.call('type', key).ok
        local value
        if kind == 'hash' then
          local fields = redis.call('hgetall', key)
          local pairs_ = {}
          for i = 1, #fields, 2 do pairs_[#pairs_ + 1] = fields[i] .. '=' .. fields[i + 1] end
          table.sort(pairs_)
          value = table.concat(pairs_, ';')
        else value = redis.call('get', key) end
        out[#out + 1] = key .. ':' .. redis.sha1hex(value)
      end
      return redis.sha1hex(table.concat(out, '|'))`);
    return all;
  }

  async remove(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    if (this.#process.exitCode === null && this.#process.kill('SIGKILL')) await ended;
    // A child that was still streaming ends a moment later.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

const FILL = `
  for i = 1, 20000 do redis.call('set', 'key:' .. i, redis.sha1hex(tostring(i)) .. string.rep('x', i % 97)) end
  for i = 1, 500 do redis.call('hset', 'user:' .. i, 'name', 'n' .. i, 'mail', i .. '@example') end
  return 'ok'`;

function sourceOf(dsn: string): EngineSpec {
  return {
    sourceId: 'redis-1',
    name: 'cache',
    type: 'engine',
    engine: { type: 'redis', settings: { dsn, every: 'off' } },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

engineConformance(
  'redis',
  async (): Promise<EngineRig> => {
    const server = await RedisServer.start();
    await server.eval(FILL);
    const targets = mkdtempSync(join(tmpdir(), 'hf-redis-'));
    return {
      engine: redisEngine,
      source: sourceOf(`socket=${server.socket}`),
      broken: sourceOf(`socket=${join(targets, 'nobody.sock')}`),
      target: (name) => join(targets, name),
      change: async () => void (await server.eval(`redis.call('set', 'key:77', 'changed') return 'ok'`)),
      fingerprint: () => server.fingerprint(),
      async restored(target) {
        const again = await RedisServer.start(target);
        const print = await again.fingerprint();
        await again.remove();
        return print;
      },
      async close() {
        await server.remove();
        rmSync(targets, { recursive: true, force: true });
      },
    };
  },
  { discoverable: false },
);

describe('redis engine', () => {
  it('logs in with the passfile, which nobody else may read, and names a wrong password without it', async () => {
    const server = await RedisServer.start(undefined, ['--requirepass', 'hunter2']);
    try {
      const passfile = join(server.directory, 'pass');
      const check = async (dsn: string) =>
        (await redisEngine.check(sourceOf(dsn), { clock: systemClock, log: silentLog, signal }))[0]!;
      expect((await check(`socket=${server.socket}`)).message).to.contain('NOAUTH');
      writeFileSync(passfile, 'wrong\n', { mode: 0o600 });
      const dsn = `socket=${server.socket} passfile=${passfile}`;
      expect((await check(dsn)).message)
        .to.contain('WRONGPASS')
        .and.not.to.contain('hunter2');
      writeFileSync(passfile, 'hunter2\n');
      expect(await check(dsn)).to.include({ level: 'ok', subject: 'connection' });
      chmodSync(passfile, 0o644);
      expect((await check(dsn)).remedy).to.equal(`chmod 600 ${passfile}`);
    } finally {
      await server.remove();
    }
  });

  it('takes the database also from a server that writes it to its disk first', async () => {
    const server = await RedisServer.start(undefined, ['--repl-diskless-sync', 'no']);
    try {
      await server.eval(FILL);
      const connection = await RedisConnection.open(parseDsn(`socket=${server.socket}`), signal);
      const check = new RdbCheck();
      const length = await connection.streamDatabase((bytes) => check.add(bytes));
      connection.close();
      check.end();
      expect(length).to.be.greaterThan(500_000);
    } finally {
      await server.remove();
    }
  });

  it('finds a database that breaks off, or of which a byte was changed', async () => {
    const server = await RedisServer.start();
    const pieces: Buffer[] = [];
    try {
      await server.eval(`for i = 1, 100 do redis.call('set', i, i * i) end return 'ok'`);
      const connection = await RedisConnection.open(parseDsn(`socket=${server.socket}`), signal);
      await connection.streamDatabase((bytes) => pieces.push(Buffer.from(bytes)));
      connection.close();
    } finally {
      await server.remove();
    }
    const whole = Buffer.concat(pieces);
    const judge = (bytes: Buffer, pieceBytes: number): void => {
      const check = new RdbCheck();
      for (let at = 0; at < bytes.length; at += pieceBytes) check.add(bytes.subarray(at, at + pieceBytes));
      check.end();
    };
    for (const pieceBytes of [1, 7, 8, 9, 4096]) judge(whole, pieceBytes);
    for (let at = 0; at < whole.length; at += 13) {
      const changed = Buffer.from(whole);
      changed[at] = changed[at]! ^ 0x10;
      expect(() => judge(changed, 64), `byte ${at}`).to.throw(HoldfastError);
      expect(() => judge(whole.subarray(0, at), 64), `cut at ${at}`).to.throw(HoldfastError);
    }
  });

  it('an early end, and a peer that is no Redis, are errors', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'hf-redis-'));
    const path = join(directory, 'sock');
    let say: string[] = [];
    const server = createServer((socket) => {
      socket.on('data', () => {
        const next = say.shift() ?? '<end>';
        socket.write(next.replace('<end>', ''));
        if (next.endsWith('<end>')) socket.end();
      });
      socket.on('error', () => undefined);
    }).listen(path);
    try {
      const codeOf = async (...words: string[]): Promise<string> => {
        say = words;
        const connection = await RedisConnection.open(parseDsn(`socket=${path}`), signal).catch(
          (error: unknown) => error,
        );
        if (!(connection instanceof RedisConnection)) return (connection as HoldfastError).code;
        try {
          await connection.streamDatabase(() => undefined);
          return 'no error';
        } catch (error) {
          return (error as HoldfastError).code;
        } finally {
          connection.close();
        }
      };
      expect(await codeOf('HTTP/1.1 400 Bad Request\r\n')).to.equal('PROTOCOL_VIOLATION');
      expect(await codeOf('+PONG\r\n', '+OK\r\n', '\n\n$100\r\nREDIS<end>')).to.equal('UNREACHABLE');
      expect(await codeOf('+PONG\r\n', '+OK\r\n', '$-7\r\n')).to.equal('PROTOCOL_VIOLATION');
      expect(await codeOf('+PONG\r\n', '$99999999999\r\n')).to.equal('PROTOCOL_VIOLATION');
    } finally {
      server.close();
      rmSync(directory, { recursive: true });
    }
  });
});
