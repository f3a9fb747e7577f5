import { createHash, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  BackupRequest,
  BackupResponse,
  VaultServiceImplementation,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import { startTestController, type TestController } from '../testing/test-controller.ts';
import { eventually } from '../testing/eventually.ts';
import { CONNECT_WITHIN_MS } from '@holdfast/shared/rpc/calls';
import { WORK_LOST } from './reconnect.ts';
import { newVaultClient } from './vault-client.ts';
import type { BackupSession, OutgoingObject, VaultClient } from './vault-port.ts';

/** A vault that keeps objects by their content and can be told to break. */
class ScriptedVault {
  readonly stored = new Map<string, Buffer>();
  readonly sessions: string[] = [];
  partsSeen = 0;
  proofs: Buffer[] = [];
  leaseMs = 60_000;
  windowBytes = 4 * 1024 * 1024;
  keepAlives = 0;
  acknowledge = true;
  answer = true;
  /** Messages that came in. */
  asked = 0;
  failBegin: HoldfastError | undefined;
  commits = 0;
  onCommit: () => void = () => {};
  onObject: (count: number) => void = () => {};

  service(): VaultServiceImplementation {
    return {
      backup: (requests) => this.#backup(requests),
      read: () => {
        throw new HoldfastError('NOT_FOUND', 'no reads here');
      },
      storeLog: noLogs,
      readLog: noLogs,
      grantOwn: () => Promise.resolve({ grant: Buffer.from('grant'), snapshotId: Buffer.alloc(32, 9) }),
    };
  }

  async *#backup(requests: AsyncIterable<BackupRequest>): AsyncGenerator<BackupResponse> {
    let count = 0n;
    let newBytes = 0n;
    let parts: Buffer[] = [];
    for await (const { kind } of requests) {
      this.asked++;
      if (!this.answer) await new Promise(() => {});
      if (kind?.$case === 'begin') {
        if (this.failBegin !== undefined) throw this.failBegin;
        this.sessions.push(kind.value.sessionId);
        const { leaseMs, windowBytes } = this;
        const began = {
          latestSnapshotId: Buffer.alloc(0),
          latestSequence: 4n,
          leaseMs,
          windowBytes,
          baseDamaged: false,
        };
        yield { kind: { $case: 'began', value: { sessionId: 'session-1', ...began } } };
      } else if (kind?.$case === 'probe') {
        if (kind.value.ids.length === 0) this.keepAlives++;
        const present = Buffer.from(chunksOf(kind.value.ids).map((id) => (this.stored.has(id) ? 1 : 0)));
        yield { kind: { $case: 'probed', value: { batch: kind.value.batch, present } } };
      } else if (kind?.$case === 'part') {
        this.partsSeen++;
        const { offset, data, totalLength, id, referenceProofs } = kind.value;
        expect(offset).to.equal(parts.reduce((sum, part) => sum + part.length, 0));
        if (offset === 0) this.proofs.push(referenceProofs);
        parts.push(data);
        if (offset + data.length < totalLength) continue;
        const envelope = Buffer.concat(parts);
        parts = [];
        expect(sha256(envelope).equals(id)).to.equal(true);
        if (!this.stored.has(id.toString('hex'))) newBytes += BigInt(envelope.length);
        this.stored.set(id.toString('hex'), envelope);
        count++;
        this.onObject(Number(count));
        if (this.acknowledge) yield { kind: { $case: 'stored', value: { count, newBytes } } };
      } else if (kind?.$case === 'commit') {
        this.commits++;
        this.onCommit();
        yield {
          kind: { $case: 'committed', value: { snapshotId: kind.value.recordId, committedAtMs: 1234n } },
        };
        return;
      }
    }
  }
}

function chunksOf(ids: Buffer): string[] {
  return Array.from({ length: ids.length / 32 }, (_, i) => ids.subarray(i * 32, i * 32 + 32).toString('hex'));
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function object(length: number): OutgoingObject {
  const envelope = randomBytes(length);
  return { id: sha256(envelope), envelope };
}

const stats = { entries: 1, files: 1, bytesTotal: 1, bytesRead: 1, bytesNew: 1, bytesStored: 1, durationMs: 1.5 };

function commitOf(recordId: Uint8Array): Parameters<BackupSession['commit']>[0] {
  return { recordId, sequence: 5, partial: false, warningsTotal: 0, startedAtMs: 1, stats };
}

async function rejection(promise: Promise<unknown>): Promise<HoldfastError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  return expect.fail('it did not reject');
}

function noLogs(): never {
  throw new HoldfastError('NOT_FOUND', 'no logs here');
}

describe('vault backup session', () => {
  let vault: ScriptedVault;
  let controller: TestController;
  let client: VaultClient;
  let abort: AbortController;

  beforeEach(async () => {
    vault = new ScriptedVault();
    controller = await startTestController({ vault: vault.service() });
    abort = new AbortController();
    client = newVaultClient({
      openChannel: () => controller.openChannel({ everyMs: 300, timeoutMs: 300 }),
      clock: systemClock,
      random: () => 0.2,
    });
  });
  afterEach(() => controller.close());

  const open = (): Promise<BackupSession> =>
    client.openBackup({ sourceId: 'source-1', jobId: 'job-1', signal: abort.signal });

  it('carries probes, objects of several parts with proofs, and the commit', async () => {
    const session = await open();
    expect(session.latestSequence).to.equal(4);
    expect(session.latestSnapshotId).to.equal(undefined);
    const big = { ...object(3 * 1024 * 1024 + 17), referenceProofs: Buffer.alloc(160, 5) };
    const small = object(100);
    expect([...(await session.probe(Buffer.concat([big.id, small.id])))]).to.deep.equal([0, 0]);
    await session.send(big);
    await session.send(small);
    await session.drained();
    expect(session.storedCount).to.equal(2);
    expect(session.newBytes).to.equal(big.envelope.length + small.envelope.length);
    expect([...(await session.probe(small.id))]).to.deep.equal([1]);
    const committed = await session.commit(commitOf(small.id));
    expect(committed.committedAtMs).to.equal(1234);
    expect(Buffer.from(committed.snapshotId).equals(small.id)).to.equal(true);
    expect(vault.stored.get(Buffer.from(big.id).toString('hex'))?.equals(big.envelope)).to.equal(true);
    expect(vault.proofs.map((proof) => proof.length)).to.deep.equal([160, 0]);
    expect((await rejection(session.send(small))).code).to.equal('FAILED_PRECONDITION');
  });

  it('V1 goes on after resets at any point, and every object arrives once (threats 15, 16, 20)', async () => {
    const session = await open();
    let cuts = 0;
    vault.onObject = (count) => {
      if (count === 7 && cuts++ < 6) controller.relay.cut();
    };
    const counts: number[] = [];
    session.onStored = (count) => counts.push(count);
    const objects = Array.from({ length: 40 }, (_, i) => object(20_000 + i * 1000));
    for (const each of objects) await session.send(each);
    await session.drained();
    expect(cuts).to.be.greaterThan(1);
    expect(session.storedCount).to.equal(40);
    expect(counts).to.deep.equal(counts.toSorted((a, b) => a - b));
    for (const { id, envelope } of objects) {
      expect(vault.stored.get(Buffer.from(id).toString('hex'))?.equals(envelope)).to.equal(true);
    }
    expect(vault.sessions[0]).to.equal('');
    expect(new Set(vault.sessions.slice(1))).to.deep.equal(new Set(['session-1']));
    session.close();
  });

  it('asks for the commit again when the answer is lost (threat 15: was it committed?)', async () => {
    const session = await open();
    vault.onCommit = () => {
      if (vault.commits === 1) controller.relay.cut();
    };
    const record = object(300);
    await session.send(record);
    const committed = await session.commit(commitOf(record.id));
    expect(Buffer.from(committed.snapshotId).equals(record.id)).to.equal(true);
    expect(vault.commits).to.equal(2);
  });

  for (const direction of ['both', 'to-server', 'to-client'] as const) {
    it(`V3 notices a black hole (${direction}) and goes on when the way is free again (threats 14, 15)`, async () => {
      const session = await open();
      controller.relay.lose(direction);
      const sent = object(50_000);
      await session.send(sent);
      const drained = session.drained();
      await eventually(() => controller.relay.connections() > 1);
      controller.relay.heal();
      controller.relay.cut();
      await drained;
      expect(vault.stored.get(Buffer.from(sent.id).toString('hex'))?.equals(sent.envelope)).to.equal(true);
      session.close();
    });
  }

  it('V5 goes on within 12 s after a link that flapped for 15 s, also from a handshake that lost its bytes (threats 14, 16)', async () => {
    const clock = new ManualClock();
    client = newVaultClient({
      openChannel: () => controller.openChannel({ everyMs: 300, timeoutMs: 300 }),
      clock,
      random: () => 0.9,
    });
    const session = await open();
    const { relay } = controller;
    const seconds = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        clock.advance(1000);
        // What is on its way gets there: the clock is ours, the connection is real.
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
    };
    const sent = object(50_000);
    await session.send(sent);
    for (const lost of Array.from({ length: 5 }, () => ['both', 'to-server', 'to-client'] as const).flat()) {
      relay.lose(lost);
      if (lost !== 'to-server') relay.cut();
      await seconds(1);
      relay.heal();
    }
    // What it loses last is a handshake: the one thing that no reset and no ping tells of.
    relay.lose('both');
    relay.cut();
    for (const before = relay.connections(); relay.connections() === before;) await seconds(1);
    relay.heal();
    const drained = session.drained();
    await seconds(12);
    // No timer of the session comes to its rescue from here on.
    await drained;
    expect(vault.stored.get(Buffer.from(sent.id).toString('hex'))?.equals(sent.envelope)).to.equal(true);
    session.close();
  });

  it('V5 drops a connection that does not come about', async () => {
    const clock = new ManualClock();
    client = newVaultClient({ openChannel: () => controller.openChannel(), clock, random: () => 0.2 });
    controller.relay.lose('both');
    const opening = open();
    await eventually(() => controller.relay.connections() === 1);
    controller.relay.heal();
    clock.advance(CONNECT_WITHIN_MS + WORK_LOST.capMs);
    const session = await opening;
    expect(controller.relay.connections()).to.equal(2);
    session.close();
  });

  it('V5 keeps a connection whose vault takes its time for the first answer', async () => {
    const clock = new ManualClock();
    client = newVaultClient({ openChannel: () => controller.openChannel(), clock, random: () => 0.2 });
    vault.answer = false;
    const opening = rejection(open());
    await eventually(() => vault.asked === 1);
    clock.advance(CONNECT_WITHIN_MS * 2);
    abort.abort();
    expect((await opening).code).to.equal('CANCELLED');
    expect(controller.relay.connections()).to.equal(1);
  });

  it('V2 waits while the window is full, and lets one larger object travel', async () => {
    vault.windowBytes = 100_000;
    vault.acknowledge = false;
    const session = await open();
    await session.send(object(250_000));
    let sent = false;
    const second = session.send(object(10)).then(() => (sent = true));
    await eventually(() => vault.stored.size === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(sent).to.equal(false);
    vault.acknowledge = true;
    // The scripted vault acknowledges with the next object only, so the old stream is dropped and all is sent again.
    controller.relay.cut();
    await second;
    await session.drained();
    expect(session.storedCount).to.equal(2);
    session.close();
  });

  it('V3 gives up after a lease when the vault owes an answer and is silent', async () => {
    vault.leaseMs = 1000;
    const session = await open();
    vault.answer = false;
    const probe = rejection(session.probe(Buffer.alloc(32)));
    expect((await probe).code).to.equal('TIMED_OUT');
    expect((await rejection(session.send(object(1)))).code).to.equal('TIMED_OUT');
  });

  it('says that it lives while it has nothing to send', async () => {
    vault.leaseMs = 1200;
    const session = await open();
    await eventually(() => vault.keepAlives >= 2);
    await session.send(object(10));
    await session.drained();
    session.close();
  });

  it('V4 ends at once with an error that a new stream cannot help', async () => {
    vault.failBegin = new HoldfastError('BUSY', 'another backup of this source runs');
    expect((await rejection(open())).code).to.equal('BUSY');
    vault.failBegin = undefined;
    const session = await open();
    vault.failBegin = new HoldfastError('SESSION_ENDED', 'the lease is over');
    controller.relay.cut();
    expect((await rejection(session.probe(Buffer.alloc(32)))).code).to.equal('SESSION_ENDED');
  });

  it('V4 ends when the vault’s disk is full, or fails again and again (threats 2, 5)', async () => {
    for (const [code, sessions] of [
      ['STORAGE_FULL', 1],
      ['STORAGE_FAILED', 5],
    ] as const) {
      vault.sessions.length = 0;
      vault.onObject = () => {
        throw new HoldfastError(code, 'the disk');
      };
      const session = await open();
      await session.send(object(10)).catch(() => undefined);
      expect((await rejection(session.drained())).code).to.equal(code);
      expect(vault.sessions.length).to.be.at.most(sessions);
    }
  });

  it('ends what waits when the job is cancelled', async () => {
    vault.acknowledge = false;
    const session = await open();
    await session.send(object(10));
    const drained = rejection(session.drained());
    abort.abort();
    expect((await drained).code).to.equal('CANCELLED');
  });

  it('refuses a probe of too many ids before it is sent', async () => {
    const session = await open();
    expect((await rejection(session.probe(Buffer.alloc(32 * 4097)))).code).to.equal('INVALID_ARGUMENT');
    session.close();
  });
});
